"""What is removed is what nobody needs."""

from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.store import open_cache
from kdcache.store.garbage import find_garbage
from kdcache.store.objects import LocalObjects
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import fill_block, make_manifest, make_store, write_targets_of


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache whose last unit was killed before its record, and that lost a temporary file."""
    path = make_store(tmp_path / "c.zarr")
    (path / "commits" / "cnn" / "2-1.json").unlink()
    (path / "commits" / "index.json").unlink()
    (path / "teachers" / ".tmp-00ff").write_bytes(b"half")
    (path / "views" / "0.77.partial").write_bytes(b"zarr's")
    return path


def test_a_whole_cache_has_no_garbage(tmp_path: Path) -> None:
    garbage = find_garbage(make_store(tmp_path / "c.zarr"), min_age=0.0)
    assert (garbage.temporary, garbage.orphans, garbage.num_bytes) == ((), (), 0)


def test_orphans_and_temporary_files_are_found_and_removed(cache: Path) -> None:
    garbage = find_garbage(cache, min_age=0.0)
    assert [entry.path for entry in garbage.temporary] == ["teachers/.tmp-00ff", "views/0.77.partial"]
    assert [entry.path for entry in garbage.orphans] == ["teachers/cnn/targets/c/1/0/2"]
    before = open_cache(cache).content_id()
    assert garbage.remove() == 3
    assert find_garbage(cache, min_age=0.0).num_bytes == 0
    assert open_cache(cache).content_id() == before
    assert verify(cache).unknown == ()
    assert garbage.remove() == 0


def test_young_ones_may_belong_to_a_run_at_work(cache: Path) -> None:
    garbage = find_garbage(cache, min_age=3600.0)
    assert (garbage.temporary, garbage.orphans, garbage.young) == ((), (), 3)


def test_other_peoples_files_are_left_alone(cache: Path) -> None:
    (cache / "README.md").write_text("a card")
    (cache / "teachers" / "notes.txt").write_text("mine")
    paths = [entry.path for entry in find_garbage(cache, min_age=0.0).orphans]
    assert paths == ["teachers/cnn/targets/c/1/0/2"]


def test_an_object_that_is_committed_meanwhile_stays(cache: Path) -> None:
    garbage = find_garbage(cache, min_age=0.0)
    writer = CacheWriter.create_or_resume(cache, make_manifest())
    write_targets_of(writer, "cnn", writer.layout.blocks[2], 1)
    assert garbage.remove() == 2
    verify(cache)


def test_an_object_that_is_committed_while_it_is_removed_comes_back(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = find_garbage(cache, min_age=0.0)
    writer = CacheWriter.create_or_resume(cache, make_manifest())
    get = LocalObjects.get

    def commit_then_get(self: LocalObjects, path: str) -> bytes:
        data = get(self, path)
        if path.startswith("teachers/cnn/targets/c/"):
            monkeypatch.setattr(LocalObjects, "get", get)
            write_targets_of(writer, "cnn", writer.layout.blocks[2], 1)
        return data

    monkeypatch.setattr(LocalObjects, "get", commit_then_get)
    assert garbage.remove() == 2
    verify(cache)


def test_a_run_takes_up_whole_orphans(cache: Path) -> None:
    writer = CacheWriter.create_or_resume(cache, make_manifest())
    fill_block(writer, writer.layout.blocks[2])
    assert find_garbage(cache, min_age=0.0).orphans == ()


def test_there_has_to_be_a_cache(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no cache"):
        find_garbage(tmp_path / "none", min_age=0.0)
