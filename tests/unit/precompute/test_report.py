"""What a run says at its end."""

import json

from kdcache.precompute.report import PrecomputeReport, TeacherResult, merged

REPORT = PrecomputeReport(
    cache="c.zarr",
    units=3,
    units_before=2,
    views=600,
    bad_samples={"undecodable": 2},
    teachers={
        "cnn": TeacherResult("gap8", 16, 500, 400),
        "vit": TeacherResult("dense8", 10, 0, 0),
        "vit.features": TeacherResult("features16", 1024, 0, 0),
    },
    seconds=2.0,
    reader_wait_seconds=0.5,
    teacher_wait_seconds=1.3,
    writer_wait_seconds=0.1,
)


def test_the_summary_says_what_a_person_wants_to_know() -> None:
    assert REPORT.summary().splitlines() == [
        "c.zarr: complete; 3 units committed (2 were there before), 600 views in 2.0 s, 300.0 views/s",
        "teacher cnn: gap8, 16 classes kept, top-1 80.0% of 500 views",
        "teacher vit: dense8, 10 classes kept",
        "features vit.features: 1,024 numbers a view",
        "bad samples, marked and skipped: 2 undecodable",
        "waited for readers 0.5 s, teachers 1.3 s, writer 0.1 s: the teachers are the bottleneck",
    ]


def test_reports_of_several_workers_add_up() -> None:
    total = merged([REPORT, REPORT], cache="c.zarr", units_before=2)
    assert (total.units, total.units_before, total.views, total.workers) == (6, 2, 1200, 2)
    assert total.teachers["cnn"].top1 == 0.8
    assert total.teachers["cnn"].labelled == 1000
    assert total.bad_samples == {"undecodable": 4}
    assert total.seconds == 2.0


def test_the_report_is_json() -> None:
    facts = json.loads(json.dumps(REPORT.to_json()))
    assert facts["teachers"]["cnn"]["top1"] == 0.8
    assert facts["teachers"]["vit"]["top1"] is None
    assert facts["views_per_second"] == 300.0
