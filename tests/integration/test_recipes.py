"""The recipes of docs/recipes run as they stand, at toy size."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kdcache.store import open_cache
from tests.support.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(script: str, *words: object) -> dict[str, Any]:
    """Run a recipe and return the JSON of its last line."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "recipes" / script), *map(str, words)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return facts


def test_a_student_learns_from_convolution_and_involution(tmp_path: Path) -> None:
    toy = ("--teacher-epochs", 12, "--epochs", 1, "--views", 2)
    found = _run("convolution_involution.py", "--out", tmp_path, *toy)
    assert set(found["students"]) == {"labels-only", "convolution", "involution", "both"}
    assert all(accuracy > 0.2 for accuracy in found["teachers"].values())
    recipe = open_cache(found["cache"]).identity.teachers["both"].ensemble
    assert recipe is not None
    assert [member["weight"] for member in recipe["members"]] == [0.5, 0.5]
