"""All that is broken is found, and what nobody can know any more is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError
from kdcache.precompute.damage import Damage, find_damage
from kdcache.store import open_cache
from kdcache.store.commits import dump_record
from kdcache.store.objects import LocalObjects
from kdcache.store.records import read_record
from kdcache.store.root import read_manifest
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("damage") / "c")


@pytest.fixture
def cache(tmp_path: Path, store: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "c"))


def _found(cache: Path) -> Damage:
    objects = LocalObjects(cache)
    return find_damage(objects, read_manifest(objects), quiet=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_whole_cache_has_no_damage(cache: Path) -> None:
    found = _found(cache)
    assert (found.documents, found.is_index_bad, found.objects) == ({}, False, ())
    assert found.content_id == open_cache(cache).content_id()


def test_every_broken_object_is_found(cache: Path) -> None:
    flip(cache / "teachers/cnn/targets/c/1/0/2")
    (cache / "samples/key/c/1").unlink()
    (cache / "views/digest/c/0/0").write_bytes(b"")
    found = _found(cache).objects
    assert [(one.unit.name, one.entry.path, one.problem.split(",")[0]) for one in found] == [
        ("samples/1", "samples/key/c/1", "it is missing"),
        ("views/0-0", "views/digest/c/0/0", "it has 0 bytes"),
        ("cnn/2-1", "teachers/cnn/targets/c/1/0/2", "its sha256 is not the one in its commit record"),
    ]


@pytest.mark.parametrize("break_it", [flip, Path.unlink])
@pytest.mark.parametrize(
    "path", ["views/zarr.json", "teachers/cnn/targets/zarr.json", "commits/cnn/1-0.json"]
)
def test_lost_documents_are_known_from_others(
    cache: Path, path: str, break_it: Callable[[Path], None]
) -> None:
    before = (cache / path).read_bytes()
    break_it(cache / path)
    found = _found(cache)
    assert (found.documents, found.objects) == ({path: before}, ())
    assert found.content_id == open_cache(cache).content_id()


def test_a_root_in_other_bytes_is_to_be_written_anew(cache: Path) -> None:
    text = (cache / "zarr.json").read_text(encoding="utf-8")
    (cache / "zarr.json").write_text(json.dumps(json.loads(text)), encoding="utf-8")
    assert _found(cache).documents == {"zarr.json": text.encode()}


def test_an_index_that_says_something_else_is_bad(cache: Path) -> None:
    flip(cache / "commits/index.json")
    assert _found(cache).is_index_bad
    (cache / "commits/index.json").unlink()
    assert not _found(cache).is_index_bad  # a cache that is still being written has none


def test_a_newer_record_is_right_and_the_index_is_not(cache: Path) -> None:
    record = read_record(LocalObjects(cache), "cnn/0-0")
    (cache / "commits/cnn/0-0.json").write_bytes(dump_record(record.model_copy(update={"seconds": 9.0})))
    found = _found(cache)
    assert (found.is_index_bad, found.documents) == (True, {})


def test_a_record_that_is_lost_altogether_cannot_be_repaired(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    flip(cache / "commits/cnn/0-0.json")
    with pytest.raises(CorruptChunkError, match=r"the commit record commits/cnn/0-0.json .* is damaged"):
        _found(cache)


def test_a_unit_that_others_need_must_be_known(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    (cache / "commits/views/1-1.json").unlink()
    with pytest.raises(CorruptChunkError, match=r"views/1-1.json .* it is missing, yet cnn/1-1 is committed"):
        _found(cache)


def test_a_record_must_fit_the_manifest(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    record = read_record(LocalObjects(cache), "cnn/0-0")
    (cache / "commits/cnn/7-0.json").write_bytes(dump_record(record.model_copy(update={"unit": "cnn/7-0"})))
    with pytest.raises(CorruptChunkError, match="the manifest has no such unit"):
        _found(cache)
    (cache / "commits/cnn/7-0.json").unlink()
    stray = record.objects[0].model_copy(update={"path": "../x"})
    (cache / "commits/cnn/0-0.json").write_bytes(dump_record(record.model_copy(update={"objects": (stray,)})))
    with pytest.raises(CorruptChunkError, match=r"'../x' cannot name an object"):
        _found(cache)
