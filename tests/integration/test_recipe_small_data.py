"""The recipe for small data in its smallest form: both students train from one cache of the CNN."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import launch, run
from tests.support.source import ROOT

PAGE = ROOT / "docs" / "recipes" / "small-data.md"
SCRIPT = ROOT / "docs" / "recipes" / "small_data.py"
STUDENTS = {"plain": "vit_tiny_patch16_224", "shifted": "vit_tiny_shifted_patch16_224"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the recipe makes."""
    return tmp_path_factory.mktemp("recipe") / "small-data"


@pytest.fixture(scope="module")
def done(out: Path) -> tuple[str, str]:
    """Run the script with one view per picture, one epoch and one seed; return (stdout, stderr)."""
    return run([str(SCRIPT), "--out", str(out), *["--views", "1", "--epochs", "1", "--seeds", "1"]])


@pytest.fixture(scope="module")
def facts(done: tuple[str, str]) -> dict[str, Any]:
    """Return the last line of stdout."""
    facts: dict[str, Any] = json.loads(done[0].splitlines()[-1])
    return facts


def test_both_students_are_compared_after_as_many_steps(facts: dict[str, Any]) -> None:
    assert {kind: facts[kind]["student"] for kind in STUDENTS} == STUDENTS
    assert facts["steps"] == 31
    gain = facts["shifted"]["mean_top1"] - facts["plain"]["mean_top1"]
    assert facts["gain"] == pytest.approx(gain, abs=0.01)


def test_both_learn_more_than_chance(facts: dict[str, Any]) -> None:
    assert min(facts[kind]["mean_top1"] for kind in STUDENTS) > 20.0


def test_the_page_gives_the_size_of_the_students(facts: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in STUDENTS if f"{facts[kind]['parameters']:,}" not in page] == []


def test_the_students_differ_in_their_name_alone(out: Path, facts: dict[str, Any]) -> None:
    plain, shifted = (
        yaml.safe_load((out / "runs" / f"{kind}-0" / "args.yaml").read_text()) for kind in STUDENTS
    )
    assert sorted(key for key in plain if plain[key] != shifted[key]) == ["out", "student"]


def test_every_command_is_shown(done: tuple[str, str]) -> None:
    assert done[1].count("$ kdcache precompute ") == 1
    assert done[1].count("$ kdcache train ") == 2


def test_a_folder_that_is_there_is_left_alone(out: Path, facts: dict[str, Any]) -> None:
    again = launch([str(SCRIPT), "--out", str(out)])
    _, stderr = again.communicate()
    assert again.returncode == 2
    assert f"{out} is there already" in stderr
