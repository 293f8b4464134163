"""Whatever happens to a run, running it again ends in the same cache."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.precompute_runs import config_for, data_objects, start, words
from tests.support.processes import Process
from tests.support.shards import write_shards

SLOW = "tests.support.teachers:slow_cnn"
NUM_UNITS = 6 * 4


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Return two shards: six blocks of eight rows, four groups of two seeds each."""
    return write_shards(tmp_path / "shards", [24, 22])


def _command(cache: Path, shards: list[str], readers: int = 4, views: int = 8) -> list[str]:
    return words(cache, shards, "--teacher", SLOW, "--views", str(views), "--readers", str(readers))


def _one_go(cache: Path, shards: list[str], readers: int, views: int) -> Path:
    config = config_for(cache, shards, teachers=[{"model": SLOW}], views=views, readers=readers)
    assert precompute(config, quiet=True).units == 6 * views // 2
    return cache


def _count(cache: Path) -> int:
    return len(list((cache / "commits" / "slow_cnn").glob("*.json")))


def _wait_for(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _signalled(process: Process, send: Callable[[], None]) -> tuple[int, str]:
    send()
    _, stderr = process.communicate(timeout=60)
    return process.wait(), stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_kills", "views"),
    [(5, 8), pytest.param(20, 48, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_kills_and_readers_change_nothing(
    num_kills: int, views: int, tmp_path: Path, shards: list[str]
) -> None:
    """One reader, four readers, and four readers killed at random moments: the same bytes."""
    one, four = (_one_go(tmp_path / f"{n}.zarr", shards, n, views) for n in (1, 4))
    killed, rng, kills = tmp_path / "killed.zarr", random.Random(20240607), 0
    while kills < num_kills:
        before = _count(killed)
        process = start(_command(killed, shards, views=views))
        _wait_for(lambda before=before: _count(killed) > before + rng.randrange(3), process)  # type: ignore[misc]
        time.sleep(rng.random() * 0.2)
        assert process.poll() is None, process.communicate()[1]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        assert before < _count(killed) < 6 * views // 2
    last = start(_command(killed, shards, views=views))
    stdout, stderr = last.communicate(timeout=120)
    assert last.returncode == 0, stderr
    assert "were there before" in stdout
    ids = {open_cache(cache).content_id() for cache in (one, four, killed)}
    assert len(ids) == 1
    assert data_objects(one) == data_objects(four) == data_objects(killed)
    verify(killed)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_run_with_the_line_that_resumes_it(
    tmp_path: Path, shards: list[str], name: str
) -> None:
    cache = tmp_path / "c.zarr"
    process = start(_command(cache, shards, readers=2))
    _wait_for(lambda: _count(cache) > 0, process)
    # Ctrl-C reaches the readers, too; a service manager's SIGTERM may.
    code, stderr = _signalled(process, lambda: os.killpg(process.pid, getattr(signal, name)))
    assert code == 5, stderr
    assert f"stopped by {name}: " in stderr
    assert f"of {NUM_UNITS} units are committed and stay; to continue: kdcache precompute" in stderr
    assert "Traceback" not in stderr
    committed = _count(cache)
    assert 0 < committed < NUM_UNITS
    again = precompute(config_for(cache, shards, teachers=[{"model": SLOW}], views=8), quiet=True)
    assert (again.units_before, again.units) == (committed, NUM_UNITS - committed)
    verify(cache)


def test_a_run_that_lost_a_reader_says_so_and_can_go_on(tmp_path: Path, shards: list[str]) -> None:
    cache = tmp_path / "c.zarr"
    process = start(_command(cache, shards, readers=2))
    _wait_for(lambda: _count(cache) > 0, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    code, stderr = _signalled(process, lambda: os.kill(int(children[-1]), signal.SIGKILL))
    assert code == 5, stderr
    assert "a reader process died" in stderr
    assert "fewer --readers" in stderr
    assert "Traceback" not in stderr
    _one_go_again = precompute(config_for(cache, shards, teachers=[{"model": SLOW}], views=8), quiet=True)
    assert _one_go_again.units_before > 0
