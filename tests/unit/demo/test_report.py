"""When the demo counts as kept, and what its report says."""

import json
from dataclasses import replace

import pytest

from kdcache.demo.report import DemoReport

GOOD = DemoReport(
    num_views=20_000,
    bytes_per_view=21.5,
    views_per_second=1500.0,
    encoding="dense8",
    objects_verified=42,
    digests_checked=512,
    teacher_top1=92.0,
    labels_only_top1=(67.4, 67.8),
    distilled_top1=(78.6, 76.2),
    mixed_top1=75.0,
    steps=930,
    teacher_calls_in_training=0,
    seconds=200.0,
)


def test_gain_is_the_difference_of_the_means() -> None:
    assert GOOD.gain == pytest.approx(9.8)


def test_a_good_run_keeps_every_promise() -> None:
    assert GOOD.kept


@pytest.mark.parametrize(
    "broken",
    [
        replace(GOOD, distilled_top1=(70.0, 70.0)),
        replace(GOOD, objects_verified=0),
        replace(GOOD, digests_checked=0),
        replace(GOOD, teacher_calls_in_training=1),
    ],
)
def test_one_broken_promise_breaks_the_run(broken: DemoReport) -> None:
    assert not broken.kept
    assert "BROKEN" in broken.to_text()


def test_text_names_what_the_student_and_the_teacher_reach() -> None:
    text = GOOD.to_text()
    assert "77.4 %  (78.6, 76.2)" in text
    assert "+9.8 points" in text


def test_json_holds_the_figures_and_the_promises() -> None:
    facts = json.loads(GOOD.to_json())
    assert facts["bytes_per_view"] == 21.5
    assert [promise["kept"] for promise in facts["promises"]] == [True] * 4
