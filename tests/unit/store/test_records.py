"""Records are found by listing, by name and in the compacted index."""

from pathlib import Path

import pytest

from kdcache.store.commits import CommitRecord, dump_index, dump_record
from kdcache.store.layout import INDEX_PATH, record_path
from kdcache.store.objects import LocalObjects
from kdcache.store.records import all_records, list_units, read_index, read_record


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    objects = LocalObjects(tmp_path)
    for unit in ("samples/0", "samples/1", "cnn/0-0"):
        objects.put_new(record_path(unit), dump_record(CommitRecord(unit=unit, objects=(), rows=1)))
    return objects


def test_units_are_listed_by_kind(objects: LocalObjects) -> None:
    assert sorted(list_units(objects)) == ["cnn/0-0", "samples/0", "samples/1"]
    assert sorted(list_units(objects, "samples")) == ["samples/0", "samples/1"]
    assert list(list_units(objects, "views")) == []


def test_the_index_is_no_unit(objects: LocalObjects) -> None:
    objects.put_new(INDEX_PATH, dump_index([]))
    assert len(list(list_units(objects))) == 3


def test_there_may_be_no_index_yet(objects: LocalObjects) -> None:
    assert read_index(objects) == {}


def test_records_that_the_index_does_not_know_yet_are_read(objects: LocalObjects) -> None:
    objects.put_new(INDEX_PATH, dump_index([read_record(objects, "cnn/0-0")]))
    assert [record.unit for record in all_records(objects)] == ["cnn/0-0", "samples/0", "samples/1"]


def test_a_unit_that_is_not_committed_has_no_record(objects: LocalObjects) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(objects, "cnn/7-0")
