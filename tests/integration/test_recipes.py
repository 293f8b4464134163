"""The recipes of docs/recipes run as they stand, at toy size."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.store import open_cache
from tests.support.processes import run_facts
from tests.support.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(script: str, *words: object) -> dict[str, Any]:
    """Run a recipe and return the JSON of its last line."""
    return run_facts([str(ROOT / "docs" / "recipes" / script), *map(str, words)])


def test_a_student_learns_from_convolution_and_involution(tmp_path: Path) -> None:
    toy = ("--teacher-epochs", 5, "--epochs", 1, "--views", 1)
    found = _run("convolution_involution.py", "--out", tmp_path, *toy)
    assert set(found["students"]) == {"labels-only", "convolution", "involution", "both"}
    assert all(accuracy > 0.2 for accuracy in found["teachers"].values())
    recipe = open_cache(found["cache"]).identity.teachers["both"].ensemble
    assert recipe is not None
    assert [member["weight"] for member in recipe["members"]] == [0.5, 0.5]
