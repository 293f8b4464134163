"""A record is used only where it fits the manifest."""

from typing import Any

import pytest

from kdcache.errors import CorruptChunkError
from kdcache.store.commits import CommitRecord, ObjectDigest
from kdcache.store.layout import Layout, Unit
from kdcache.store.trust import check_record
from tests.support.stores import make_manifest

LAYOUT = Layout.of(make_manifest().identity)


def record_of(unit: Unit, **changes: Any) -> CommitRecord:
    paths = [spec.object_path(*position) for spec, position in LAYOUT.objects_of(unit)]
    objects = tuple(ObjectDigest(path=path, size=100, sha256="0" * 64) for path in paths)
    return CommitRecord(**({"unit": unit.name, "objects": objects, "rows": 1} | changes))


@pytest.mark.parametrize("unit", list(LAYOUT.units()), ids=lambda unit: unit.name)
def test_every_unit_may_have_a_record(unit: Unit) -> None:
    assert check_record(record_of(unit), LAYOUT, url="c") == unit


@pytest.mark.parametrize(
    ("unit", "changes", "message"),
    [
        (Unit("cnn", 9, 0), {}, "cnn/9-0.json in c .*the manifest has no such unit"),
        (Unit("cnn", 0, 9), {}, "no such unit"),
        (Unit.samples(0), {"objects": ()}, "it names other objects than samples/key/c/0"),
        (Unit.samples(0), {"rows": 9}, "counts more than the 8 rows or views"),
        (Unit("cnn", 0, 0), {"rows": 17}, "counts more than the 16 rows or views"),
        (Unit("cnn", 0, 0), {"saturated": 17}, "counts more than"),
        (Unit("cnn", 0, 0), {"labelled": 2, "correct": 3}, "counts more than"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(unit: Unit, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptChunkError, match=message):
        check_record(record_of(unit, **changes), LAYOUT, url="c")


def test_an_object_cannot_be_larger_than_its_chunks() -> None:
    record = record_of(Unit("cnn", 0, 0))
    objects = (record.objects[0].model_copy(update={"size": 1 << 20}),)
    with pytest.raises(CorruptChunkError, match=r"targets/c/0/0/0 has 1,048,576 bytes, above the limit"):
        check_record(record.model_copy(update={"objects": objects}), LAYOUT, url="c")
