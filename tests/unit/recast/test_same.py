"""Equal units, and what is said of others."""

from pathlib import Path

from kdcache.recast.same import has_equal_bytes, why_they_differ
from kdcache.recast.source import Source
from kdcache.store.layout import Unit
from tests.support.stores import make_manifest, make_store, make_teacher


def test_a_unit_is_the_same_by_its_records(tmp_path: Path) -> None:
    first, second = (Source.open(make_store(tmp_path / name)) for name in "ab")
    for unit in first.units:
        assert has_equal_bytes(first, unit, second, unit)
        assert why_they_differ(first, unit, second, unit) is None
    assert not has_equal_bytes(first, Unit("cnn", 0, 0), second, Unit("cnn", 0, 1))


def test_other_values_are_told_by_kind(tmp_path: Path) -> None:
    source = Source.open(
        make_store(tmp_path / "a", make_manifest(teachers={"cnn": make_teacher(encoding="hard")}))
    )
    assert why_they_differ(source, Unit.samples(0), source, Unit.samples(1)) == "8 samples against 2"
    assert why_they_differ(source, Unit.views(0, 0), source, Unit.views(2, 0)) == (
        "sample 's0-0000' under aug_seed 0 has another view (7 of that seed differ)"
    )
    different = why_they_differ(source, Unit("cnn", 0, 0), source, Unit("cnn", 2, 0))
    assert different is not None
    assert different.endswith("of 16 views have other targets")
