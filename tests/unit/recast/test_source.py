"""A cache as a source: its records must be what the manifest allows."""

import shutil
from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.recast.source import Place, Source
from kdcache.store import open_cache
from kdcache.store.commits import dump_record
from kdcache.store.layout import Unit, record_path
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("source") / "c", finished=False)


@pytest.fixture
def cache(tmp_path: Path, store: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "c"))


def test_a_source_knows_its_units_in_writing_order_and_its_id(cache: Path) -> None:
    source = Source.open(cache)
    assert [unit.name for unit in source.units[:4]] == ["samples/0", "samples/1", "samples/2", "views/0-0"]
    assert source.content_id() == open_cache(cache).content_id()
    assert source.num_bytes == sum(
        entry.size for record in source.records.values() for entry in record.objects
    )


def test_a_place_is_told_by_its_shard(cache: Path) -> None:
    source = Source.open(cache)
    place = source.place(Unit("cnn", 1, 1))
    assert place == Place("cnn", "train-000.tar", 8, 1)
    assert str(place) == "cnn of train-000.tar from sample 8, group 1"
    assert str(source.place(Unit.samples(2))) == "samples of train-001.tar from sample 0"
    assert list(source.seeds_of(Unit("cnn", 1, 1))) == [2, 3]
    assert list(source.seeds_of(Unit.samples(2))) == []


def test_a_record_that_names_a_file_elsewhere_is_refused(cache: Path) -> None:
    record = Source.open(cache).records["cnn/0-0"]
    stray = record.objects[0].model_copy(update={"path": "../../secret"})
    (cache / record_path("cnn/0-0")).write_bytes(dump_record(record.model_copy(update={"objects": (stray,)})))
    with pytest.raises(CorruptChunkError, match=r"cnn/0-0.json .*'../../secret' cannot name an object"):
        Source.open(cache)


def test_a_record_of_an_unknown_unit_is_refused(cache: Path) -> None:
    record = Source.open(cache).records["cnn/0-0"]
    (cache / record_path("cnn/9-0")).write_bytes(dump_record(record.model_copy(update={"unit": "cnn/9-0"})))
    with pytest.raises(CorruptChunkError, match="no such unit"):
        Source.open(cache)


def test_an_object_is_read_only_if_it_is_what_its_record_says(cache: Path) -> None:
    source = Source.open(cache)
    (entry,) = source.records["cnn/0-0"].objects
    data = source.read(entry)
    for bad in (data[:-1], bytes([data[0] ^ 1]) + data[1:]):
        (cache / entry.path).write_bytes(bad)
        with pytest.raises(CorruptChunkError, match=r"targets/c/0/0/0 .* size or sha256 is not the one"):
            source.read(entry)
    (cache / entry.path).unlink()
    with pytest.raises(CorruptChunkError, match="committed, but missing"):
        source.read(entry)


def test_there_has_to_be_a_cache(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no cache at"):
        Source.open(tmp_path)
