"""The report says what a run found, and how it is known that no teacher was called."""

import json
import sys
from types import ModuleType

import pytest

from kdcache.train.evaluate import EvalReport
from kdcache.train.report import TrainReport, teacher_modules


def _report(**fields: object) -> TrainReport:
    facts: dict[str, object] = {
        "out": "runs/a",
        "weights": "runs/a/model.safetensors",
        "student": "vit",
        "steps": 10,
        "epochs": 2.5,
        "samples": 640,
        "views_checked": 70,
        "rows_without_targets": 0,
        "cache": "c.zarr",
        "cache_id": "sha256:abc",
        "kept_mass": 0.9,
        "resumed_from_step": None,
        "seconds": 1.0,
        "evaluation": EvalReport(samples=10, labelled=10, top1=0.5, top5=0.9, loss=1.25, agreement=0.7),
    }
    return TrainReport(**(facts | fields))  # type: ignore[arg-type]


def test_programs_read_every_field_as_json() -> None:
    facts = json.loads(_report().to_json())
    assert facts["evaluation"]["top1"] == 0.5
    assert facts["teacher_calls"] == 0
    assert facts["teacher_calls_known_by"] == "kdcache.teachers and kdcache.precompute were never imported"


def test_people_read_the_figures_in_a_few_lines() -> None:
    text = _report().to_text()
    assert "10 (2.50 epochs, 640 views)" in text
    assert "top-1 50.00%, top-5 90.00%, loss 1.250, of 10 labelled samples" in text
    assert "70 by pixel digest, all equal" in text


def test_views_that_drifted_are_said() -> None:
    assert (
        "70 by pixel digest, 3 differ by a decoder's rounding (allowed)" in _report(views_drifted=3).to_text()
    )


def test_a_run_without_validation_has_no_line_for_it() -> None:
    assert "validation" not in _report(evaluation=None).to_text()


def test_teacher_modules_in_the_process_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kdcache.teachers.fake", ModuleType("fake"))
    assert "kdcache.teachers.fake" in teacher_modules()
    assert "this process did: a, b" in _report(teacher_modules=("a", "b")).proof
