"""The demo in its smallest form: every command runs for real, only the gain is left to ``make demo``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import launch


@dataclass
class Demo:
    """What a demo left."""

    out: Path
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo with one view per picture, one epoch and one seed."""
    out = tmp_path_factory.mktemp("demo")
    process = launch(
        ["kdcache", "demo", "--out", str(out), "--json", *["--views", "1", "--epochs", "1", "--seeds", "1"]]
    )
    stdout, stderr = process.communicate()
    return Demo(out, process.wait(), stdout, stderr)


@pytest.fixture(scope="module")
def facts(tiny: Demo) -> dict[str, Any]:
    """Return the report, which is JSON on stdout."""
    facts: dict[str, Any] = json.loads(tiny.stdout)
    return facts


def _kept(facts: dict[str, Any], words: str) -> bool:
    return next(bool(entry["kept"]) for entry in facts["promises"] if words in entry["promise"])


def test_demo_fails_if_and_only_if_a_promise_is_broken(tiny: Demo, facts: dict[str, Any]) -> None:
    assert tiny.returncode == (0 if facts["kept"] else 1), tiny.stderr


@pytest.mark.parametrize("words", ["matches its record", "pixels", "no teacher"])
def test_promises_that_do_not_depend_on_length_are_kept(facts: dict[str, Any], words: str) -> None:
    assert _kept(facts, words)


def test_the_shipped_teacher_knows_the_test_pictures(facts: dict[str, Any]) -> None:
    assert facts["teacher_top1"] > 88.0


def test_a_view_of_ten_classes_costs_less_than_forty_bytes(facts: dict[str, Any]) -> None:
    assert 5.0 < facts["bytes_per_view"] < 40.0


def test_every_command_that_ran_is_shown(tiny: Demo) -> None:
    for name in ("precompute", "info", "verify", "train"):
        assert f"$ kdcache {name} " in tiny.stderr


def test_the_report_is_kept_in_the_folder(tiny: Demo, facts: dict[str, Any]) -> None:
    assert json.loads((tiny.out / "report.json").read_text()) == facts
