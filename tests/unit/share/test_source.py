"""A source is not trusted: it may be damaged, or made up."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.share.source import read_source
from kdcache.store import open_cache
from kdcache.store.commits import CommitRecord, dump_index, dump_record, load_record
from kdcache.store.layout import Unit
from kdcache.store.objects import LocalObjects
from tests.support.stores import make_store

HOSTILE = [
    "/etc/passwd",
    "../../outside",
    "samples/../../outside",
    "samples\\key\\c\\0",
    "samples/key/c/0/../../../../x",
    "samples/key/c/1",
    "zarr.json",
    "samples/key/c/0\n\x1b[2J",
    "file:///etc/passwd",
    ".bashrc",
    "",
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pristine") / "c.zarr")


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "c.zarr"))


def _rewrite(cache: Path, unit: str, change: Callable[[CommitRecord], CommitRecord]) -> None:
    """Write another record, with seals that fit, as somebody would who means harm."""
    path = cache / "commits" / f"{unit}.json"
    record = change(load_record(path.read_bytes(), where="test"))
    records = [record if other.unit == unit else other for other in open_cache(cache).records()]
    path.write_bytes(dump_record(record))
    (cache / "commits" / "index.json").write_bytes(dump_index(records))


def _renamed(record: CommitRecord, name: str) -> CommitRecord:
    first = record.objects[0].model_copy(update={"path": name})
    return record.model_copy(update={"objects": (first, *record.objects[1:])})


@pytest.mark.parametrize("finished", [True, False])
def test_a_cache_is_read_in_the_order_of_writing(tmp_path: Path, finished: bool) -> None:
    cache = make_store(tmp_path / "c.zarr", finished=finished)
    source = read_source(LocalObjects(cache), jobs=4)
    assert list(source.records) == list(source.layout.units())
    assert source.content_id == open_cache(cache).content_id()


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_that_names_anything_else_is_refused_by_name(cache: Path, name: str, indexed: bool) -> None:
    _rewrite(cache, "samples/0", lambda record: _renamed(record, name))
    if not indexed:
        (cache / "commits/index.json").unlink()
    with pytest.raises(CorruptChunkError, match=r"it names|cannot name an object") as caught:
        read_source(LocalObjects(cache), jobs=2)
    assert repr(name) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_record_that_names_its_objects_in_another_order_or_not_all_is_refused(cache: Path) -> None:
    _rewrite(cache, "views/0-0", lambda record: record.model_copy(update={"objects": record.objects[:1]}))
    with pytest.raises(CorruptChunkError, match="does not name each of"):
        read_source(LocalObjects(cache), jobs=2)


@pytest.mark.parametrize("unit", ["cnn/9-9", "../../outside", "/etc/passwd", "other/0-0", "samples/0\x1b"])
def test_a_unit_that_the_manifest_has_not_is_refused(cache: Path, unit: str) -> None:
    _rewrite(cache, "cnn/0-0", lambda record: record.model_copy(update={"unit": unit}))
    with pytest.raises(
        CorruptChunkError, match=r"the manifest has no such unit|cannot name an object"
    ) as caught:
        read_source(LocalObjects(cache), jobs=2)
    assert str(caught.value).isprintable()


def test_a_record_of_another_unit_is_refused(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    (cache / "commits/samples/1.json").write_bytes((cache / "commits/samples/0.json").read_bytes())
    with pytest.raises(CorruptChunkError, match="it is the record of samples/0"):
        read_source(LocalObjects(cache), jobs=2)


def test_targets_without_views_are_refused(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    (cache / "commits/views/1-0.json").unlink()
    with pytest.raises(CorruptChunkError, match=r"views/1-0.json.*missing, yet cnn/1-0 is committed"):
        read_source(LocalObjects(cache), jobs=2)


def test_a_size_that_no_object_can_have_is_refused_before_it_is_read(cache: Path) -> None:
    def inflate(record: CommitRecord) -> CommitRecord:
        return record.model_copy(
            update={"objects": (record.objects[0].model_copy(update={"size": 1 << 40}),)}
        )

    _rewrite(cache, "cnn/0-0", inflate)
    with pytest.raises(CorruptChunkError, match="1,099,511,627,776 bytes, but such an object has at most"):
        read_source(LocalObjects(cache), jobs=2)


def test_another_size_is_found_without_reading(cache: Path) -> None:
    path = "teachers/cnn/targets/c/0/0/1"
    (cache / path).write_bytes(b"short")
    source = read_source(LocalObjects(cache), jobs=2)
    source.check_sizes(source.records[Unit("cnn", 0, 0)])
    with pytest.raises(CorruptChunkError, match=rf"{path} .* it has 5 bytes, its commit record says"):
        source.check_sizes(source.records[Unit("cnn", 1, 0)])


def test_there_has_to_be_a_cache(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no cache"):
        read_source(LocalObjects(tmp_path), jobs=1)
