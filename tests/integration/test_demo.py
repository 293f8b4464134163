"""The demo in its smallest form: every command runs for real, only the gain is left to ``make demo``."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run the demo with one view per picture, one epoch and one seed."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "kdcache_cli.main", "demo", "--out", str(out), "--json"]
    small = ["--views", "1", "--epochs", "1", "--seeds", "1"]
    return out, subprocess.run([*command, *small], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def facts(tiny: tuple[Path, subprocess.CompletedProcess[str]]) -> dict[str, Any]:
    """Return the report, which is JSON on stdout."""
    facts: dict[str, Any] = json.loads(tiny[1].stdout)
    return facts


def _kept(facts: dict[str, Any], words: str) -> bool:
    return next(bool(entry["kept"]) for entry in facts["promises"] if words in entry["promise"])


def test_demo_fails_if_and_only_if_a_promise_is_broken(
    tiny: tuple[Path, subprocess.CompletedProcess[str]], facts: dict[str, Any]
) -> None:
    assert tiny[1].returncode == (0 if facts["kept"] else 1), tiny[1].stderr


@pytest.mark.parametrize("words", ["matches its record", "pixels", "no teacher"])
def test_promises_that_do_not_depend_on_length_are_kept(facts: dict[str, Any], words: str) -> None:
    assert _kept(facts, words)


def test_the_shipped_teacher_knows_the_test_pictures(facts: dict[str, Any]) -> None:
    assert facts["teacher_top1"] > 88.0


def test_a_view_of_ten_classes_costs_less_than_forty_bytes(facts: dict[str, Any]) -> None:
    assert 5.0 < facts["bytes_per_view"] < 40.0


def test_every_command_that_ran_is_shown(tiny: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for name in ("precompute", "info", "verify", "train"):
        assert f"$ kdcache {name} " in tiny[1].stderr


def test_the_report_is_kept_in_the_folder(
    tiny: tuple[Path, subprocess.CompletedProcess[str]], facts: dict[str, Any]
) -> None:
    assert json.loads((tiny[0] / "report.json").read_text()) == facts
