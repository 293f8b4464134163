"""What is said of a cache that was made."""

from kdcache.recast.report import RecastReport
from kdcache.store.commits import CommitRecord, ObjectDigest


def test_units_are_counted_by_kind() -> None:
    entry = ObjectDigest(path="x", size=5, sha256="0" * 64)
    records = [
        CommitRecord(unit=name, objects=(entry,), rows=1) for name in ("samples/0", "a.b/0-0", "a.b/0-1")
    ]
    counted = RecastReport.counted(records)
    assert counted == {"units": {"samples": 1, "a.b": 2}, "objects": 3, "num_bytes": 15}
    report = RecastReport(
        "out", "sha256:1", is_made=True, units_before=0, total_units=4, notes=("n",), **counted
    )
    assert report.summary().splitlines() == [
        "out holds 3 units (samples 1, a.b 2; 1 units are not in it)",
        "3 objects, 15 bytes",
        "content id sha256:1",
        "note: n",
    ]
    assert report.to_json()["units"] == {"samples": 1, "a.b": 2}
