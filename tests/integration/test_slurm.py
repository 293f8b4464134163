"""A job array on a real Slurm: tasks are interrupted and lost, and the cache is as if nothing had happened."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kdcache.precompute import precompute
from kdcache.store import open_cache
from tests.support.precompute_runs import config_for, invoke, words
from tests.support.shards import write_shards
from tests.support.slurm import PrivateSlurm, missing_programs, private_slurm, wait_until
from tests.support.source import ROOT

SLOW = "tests.support.teachers:slow_cnn"
VIEWS = 48

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"Slurm is not installed ({', '.join(missing_programs())}): tests/support/debian-packages.txt",
    ),
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[PrivateSlurm]:
    with private_slurm() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(slurm: PrivateSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Return two shards: six blocks of eight rows, 24 groups of two seeds each."""
    return write_shards(tmp_path / "shards", [24, 22])


def _submit(num_tasks: int, cache: Path, shards: Sequence[str]) -> str:
    """Launch an array and return its id."""
    house = shlex.quote(f"{ROOT}:{ROOT / 'cli'}")
    setup = f"export PYTHONPATH={house} PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    flags = f"--tasks {num_tasks} --gpus-per-task 0 --cpus-per-task 1 --submit --setup".split()
    command = words(cache, shards, "--teacher", SLOW, "--views", str(VIEWS))
    result = invoke(["launch", "slurm", *flags, setup, "--", *command])
    assert result.exit_code == 0, result.output
    submitted = re.fullmatch(r"Submitted batch job (\d+)\n", result.output)
    assert submitted, result.output
    return submitted[1]


def _count(cache: Path) -> int:
    return len(list((cache / "commits" / "slow_cnn").glob("*.json")))


def _log(array: str, task: int) -> str:
    path = Path("slurm-logs") / f"{array}_{task}.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_an_array_that_is_interrupted_and_loses_its_node_ends_in_the_same_cache(
    slurm: PrivateSlurm, tmp_path: Path, shards: list[str]
) -> None:
    cache = tmp_path / "c.zarr"
    array = _submit(2, cache, shards)
    wait_until(lambda: _count(cache) > 2 and slurm.heeds_term(array, 1), what="both tasks to work")

    # What Slurm does 120 s before the time limit of a task (--signal=B:USR1@120).
    slurm.command("scancel", "--batch", "--signal=USR1", f"{array}_1")
    wait_until(lambda: slurm.tasks(array)[1]["Restarts"] == "1", what="the interrupted task to be queued")
    assert "stopped by SIGTERM: " in _log(array, 1)
    assert f"task {array}_1 ends with exit code 5" in _log(array, 1)
    assert (slurm.states(array)[0], slurm.tasks(array)[0]["Restarts"]) == ("RUNNING", "0")

    slurm.crash_node(array)
    num_units = 6 * VIEWS // 2
    assert 2 < _count(cache) < num_units

    slurm.skip_delay(array)
    alone = tmp_path / "alone.zarr"
    precompute(config_for(alone, shards, teachers=[{"model": SLOW}], views=VIEWS), quiet=True)
    wait_until(
        lambda: not {"PENDING", "RUNNING", "COMPLETING"} & set(slurm.states(array).values()),
        what="the array to end",
    )
    assert slurm.states(array) == {0: "COMPLETED", 1: "COMPLETED"}, slurm.logs()
    for task in (0, 1):
        assert f"task {array}_{task} starts on " in _log(array, task)
        assert "restarts so far: 0" in _log(array, task)
        assert "restarts so far: 1" in _log(array, task)
        assert f"task {array}_{task} ends with exit code 0" in _log(array, task)
    assert _count(cache) == num_units
    verified = invoke(["verify", str(cache)])
    assert verified.exit_code == 0, verified.output
    assert open_cache(cache).content_id() == open_cache(alone).content_id()


def test_a_cancelled_task_stays_cancelled(slurm: PrivateSlurm, tmp_path: Path, shards: list[str]) -> None:
    array = _submit(1, tmp_path / "c.zarr", shards)
    wait_until(lambda: slurm.heeds_term(array, 0), what="the task to work")
    slurm.command("scancel", array)
    wait_until(lambda: "ends with exit code 5" in _log(array, 0), what="the task to be interrupted")
    wait_until(lambda: slurm.states(array)[0] != "COMPLETING", what="Slurm to put it away")
    assert slurm.states(array) == {0: "CANCELLED"}
