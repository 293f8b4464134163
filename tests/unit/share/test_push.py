"""A whole copy, the manifest last."""

import json
import shutil
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, CorruptChunkError, ManifestMismatchError, StoreError
from kdcache.share.push import push
from kdcache.store import open_cache
from kdcache.store.objects import LocalObjects, open_objects
from kdcache.store.verify import verify
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pristine") / "c.zarr")


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "c.zarr"))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def test_a_copy_is_the_cache_byte_for_byte_and_its_sums(cache: Path, tmp_path: Path) -> None:
    report = push(cache, tmp_path / "d.zarr", quiet=True)
    copied = _files(tmp_path / "d.zarr")
    assert report.num_bytes == sum(len(data) for data in copied.values())
    assert (report.objects, report.writes) == (len(copied), len(copied))
    copied.pop("SHA256SUMS")
    assert copied == _files(cache)
    checked = verify(tmp_path / "d.zarr")
    assert (checked.content_id, checked.unknown) == (open_cache(cache).content_id(), ())


def test_a_second_push_sends_nothing(cache: Path, tmp_path: Path) -> None:
    first = push(cache, tmp_path / "d.zarr", quiet=True)
    again = push(cache, tmp_path / "d.zarr", quiet=True)
    assert (again.objects, again.present, again.reads, again.writes) == (0, first.objects, 0, 0)
    assert again.present_bytes == first.num_bytes


def test_the_order_is_data_records_metadata_sums_manifest(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    for name in ("put_new", "replace"):
        original = getattr(LocalObjects, name)

        def put(self: LocalObjects, path: str, data: bytes, original=original) -> object:  # type: ignore[no-untyped-def]
            order.append(path)
            return original(self, path, data)

        monkeypatch.setattr(LocalObjects, name, put)
    push(cache, tmp_path / "d.zarr", quiet=True)
    stages = [
        0 if "/c/" in path else 1 if path.startswith("commits/") and path != "commits/index.json" else 2
        for path in order[:-2]
    ]
    assert stages == sorted(stages)
    assert order[-2:] == ["SHA256SUMS", "zarr.json"]


def test_a_dry_run_counts_and_writes_nothing(cache: Path, tmp_path: Path) -> None:
    plan = push(cache, tmp_path / "d.zarr", dry_run=True)
    assert not (tmp_path / "d.zarr").exists()
    done = push(cache, tmp_path / "d.zarr", quiet=True)
    counts = ("objects", "num_bytes", "reads", "writes", "present", "content_id")
    assert [getattr(plan, name) for name in counts] == [getattr(done, name) for name in counts]
    assert "to copy" in plan.summary()
    assert json.loads(json.dumps(plan.to_json()))["dry_run"] is True


def test_garbage_and_strangers_stay_behind(cache: Path, tmp_path: Path) -> None:
    (cache / "commits/cnn/2-1.json").unlink()
    (cache / "commits/index.json").unlink()
    (cache / ".tmp-77").write_bytes(b"half")
    (cache / "evil.sh").write_bytes(b"rm")
    push(cache, tmp_path / "d.zarr", quiet=True)
    copied = _files(tmp_path / "d.zarr")
    assert {"teachers/cnn/targets/c/1/0/2", ".tmp-77", "evil.sh"} & copied.keys() == set()
    assert open_cache(tmp_path / "d.zarr").content_id() == open_cache(cache).content_id()
    verify(tmp_path / "d.zarr")


@pytest.mark.parametrize("damage", ["flipped", "short", "missing"])
def test_a_damaged_object_is_refused_by_name_and_the_copy_does_not_open(
    cache: Path, tmp_path: Path, damage: str
) -> None:
    path = "views/digest/c/0/1"
    data = bytearray((cache / path).read_bytes())
    data[9] ^= 1
    (cache / path).unlink()
    if damage != "missing":
        (cache / path).write_bytes(data if damage == "flipped" else data[:-1])
    with pytest.raises(CorruptChunkError, match=f"{path} in {cache} is damaged"):
        push(cache, tmp_path / "d.zarr", quiet=True)
    assert not (tmp_path / "d.zarr" / path).exists()
    with pytest.raises(StoreError, match="there is no cache"):
        open_cache(tmp_path / "d.zarr")


def test_a_read_that_is_damaged_on_the_way_is_read_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, reads = LocalObjects.get, []

    def damaging_get(self: LocalObjects, path: str) -> bytes:
        data = get(self, path)
        reads.append(path)
        return data[::-1] if path == "samples/key/c/0" and reads.count(path) == 1 else data

    monkeypatch.setattr(LocalObjects, "get", damaging_get)
    push(cache, tmp_path / "d.zarr", quiet=True)
    assert reads.count("samples/key/c/0") == 2
    verify(tmp_path / "d.zarr")


def test_objects_that_only_their_bytes_tell_are_read_back(cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d.zarr"
    for name in ("samples", "views"):
        shutil.copytree(cache / name, copy / name)
    report = push(cache, copy, quiet=True)
    assert report.read_back == 24
    assert open_cache(copy).content_id() == open_cache(cache).content_id()


def test_an_object_of_another_cache_with_the_same_size_is_refused(cache: Path, tmp_path: Path) -> None:
    path, copy = "samples/key/c/0", tmp_path / "d.zarr"
    data = bytearray((cache / path).read_bytes())
    data[-1] ^= 1
    open_objects(copy).put_new(path, bytes(data))
    with pytest.raises(ManifestMismatchError, match=f"another object under the name {path}"):
        push(cache, copy, quiet=True)
    assert _files(copy) == {path: bytes(data)}


def test_two_pushes_at_once_make_one_copy(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new = LocalObjects.put_new

    def other_first(self: LocalObjects, path: str, data: bytes) -> bool:
        monkeypatch.setattr(LocalObjects, "put_new", put_new)
        push(cache, tmp_path / "d.zarr", quiet=True)
        return put_new(self, path, data)

    monkeypatch.setattr(LocalObjects, "put_new", other_first)
    push(cache, tmp_path / "d.zarr", quiet=True, jobs=1)
    assert verify(tmp_path / "d.zarr").content_id == open_cache(cache).content_id()


def test_a_cache_is_not_copied_onto_itself(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(cache)
    for other in (cache, f"file://{cache}", tmp_path / "alias"):
        with pytest.raises(ConfigError, match="source and destination are both"):
            push(cache, other, quiet=True)


def test_a_link_at_the_destination_is_not_followed(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr/teachers").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="is a link"):
        push(cache, tmp_path / "d.zarr", quiet=True)
    assert not list((tmp_path / "outside").iterdir())


def test_a_card_comes_right_before_the_manifest_and_is_no_part_of_the_sums(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    replace = LocalObjects.replace

    def put(self: LocalObjects, path: str, data: bytes) -> None:
        order.append(path)
        replace(self, path, data)

    monkeypatch.setattr(LocalObjects, "replace", put)
    (cache / "README.md").write_bytes(b"a card")
    push(cache, tmp_path / "d.zarr", extra_files={"croissant.json": b"{}"}, jobs=1, quiet=True)
    assert order[-3:] == ["SHA256SUMS", "croissant.json", "README.md"]
    assert (tmp_path / "d.zarr/README.md").read_bytes() == b"a card"
    assert b"README" not in (tmp_path / "d.zarr/SHA256SUMS").read_bytes()
    assert verify(tmp_path / "d.zarr").unknown == ()


def test_a_newer_card_replaces_the_one_that_is_there(cache: Path, tmp_path: Path) -> None:
    (cache / "README.md").write_bytes(b"old")
    first = push(cache, tmp_path / "d.zarr", quiet=True)
    assert push(cache, tmp_path / "d.zarr", quiet=True).objects == 0
    for text in (b"new", b"longer"):
        (cache / "README.md").write_bytes(text)
        again = push(cache, tmp_path / "d.zarr", quiet=True)
        assert (again.objects, again.present) == (1, first.objects - 1)
        assert (tmp_path / "d.zarr/README.md").read_bytes() == text


def test_a_push_that_was_stopped_before_its_manifest_goes_on_with_its_card(
    cache: Path, tmp_path: Path
) -> None:
    (cache / "README.md").write_bytes(b"a card")
    push(cache, tmp_path / "d.zarr", quiet=True)
    (tmp_path / "d.zarr/zarr.json").unlink()
    assert push(cache, tmp_path / "d.zarr", quiet=True).objects == 1


def test_a_card_that_is_a_link_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (cache / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="is a link"):
        push(cache, tmp_path / "d.zarr", quiet=True)
    assert not (tmp_path / "d.zarr").exists()


def test_a_push_without_terms_warns(cache: Path, tmp_path: Path) -> None:
    (warning,) = push(cache, tmp_path / "d.zarr", dry_run=True).warnings
    assert "no licence and no contact" in warning
