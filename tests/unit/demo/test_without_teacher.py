"""The process in which no teacher can be had."""

import subprocess
import sys

import pytest

from kdcache.demo.without_teacher import FORBIDDEN, NoTeacherFinder


@pytest.mark.parametrize("name", [*FORBIDDEN, "kdcache.teachers.timm_teacher"])
def test_a_teacher_cannot_be_found(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="not to be had"):
        NoTeacherFinder().find_spec(name, None)


def test_other_modules_are_somebody_elses_business() -> None:
    assert NoTeacherFinder().find_spec("kdcache.teachers_room", None) is None


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kdcache.demo.without_teacher", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_runs_there() -> None:
    result = _run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("kdcache, version")
