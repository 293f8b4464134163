"""Several workers end in the cache of one, and so do several that die."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.precompute_runs import config_for, data_objects, start, words
from tests.support.processes import Process
from tests.support.shards import write_shards

SLOW = "tests.support.teachers:slow_cnn"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Return two shards: six blocks of eight rows, two groups of two seeds each."""
    return write_shards(tmp_path / "shards", [24, 22])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _workers(process: Process) -> list[int]:
    """Return the workers' processes: what multiprocessing's fork server has forked."""
    servers = [
        pid for pid in _children(process.pid) if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return [worker for server in servers for worker in _children(server)]


def _count(cache: Path) -> int:
    return len(list((cache / "commits").glob("*cnn/*.json")))


def _wait_for_units(cache: Path, count: int, process: Process) -> None:
    deadline = time.monotonic() + 120
    while _count(cache) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_two_workers_make_the_cache_of_one(tmp_path: Path, shards: list[str]) -> None:
    one = precompute(config_for(tmp_path / "one.zarr", shards), quiet=True)
    two = precompute(config_for(tmp_path / "two.zarr", shards, workers=2), quiet=True)
    assert (two.units, two.workers, two.views) == (one.units, 2, one.views)
    assert two.teachers == one.teachers
    assert data_objects(tmp_path / "one.zarr") == data_objects(tmp_path / "two.zarr")
    assert open_cache(tmp_path / "one.zarr").content_id() == open_cache(tmp_path / "two.zarr").content_id()


@pytest.mark.slow
def test_the_others_take_over_from_a_worker_that_is_killed(tmp_path: Path, shards: list[str]) -> None:
    cache, teacher = tmp_path / "c.zarr", ["--teacher", SLOW, "--views", "8"]
    process = start(words(cache, shards, *teacher, "--workers", "2"))
    _wait_for_units(cache, 1, process)
    os.kill(_workers(process)[0], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "died of SIGKILL; the others take its" in stderr
    assert "complete; 24 units committed" in stdout
    undisturbed = config_for(tmp_path / "u.zarr", shards, teachers=[{"model": SLOW}], views=8)
    precompute(undisturbed, quiet=True)
    assert data_objects(cache) == data_objects(tmp_path / "u.zarr")
    verify(cache)


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_a_signal_ends_all_workers_and_the_run_can_go_on(
    tmp_path: Path, shards: list[str], to_all: bool
) -> None:
    cache = tmp_path / "c.zarr"
    process = start(words(cache, shards, "--teacher", SLOW, "--views", "16", "--workers", "2"))
    _wait_for_units(cache, 2, process)
    started = time.monotonic()
    if to_all:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 5, stderr
    assert "of 48 units are committed and stay; to continue: kdcache precompute" in stderr
    assert "Traceback" not in stderr
    committed = _count(cache)
    settings = config_for(cache, shards, teachers=[{"model": SLOW}], views=16)
    assert precompute(settings, quiet=True).units_before == committed
    verify(cache)


@pytest.mark.slow
def test_what_a_worker_meets_is_told_by_the_main_process(tmp_path: Path, shards: list[str]) -> None:
    nan = ["--teacher", "tests.support.teachers:nan_cnn", "--workers", "2", "--size", "24"]
    path = tmp_path / "white.tar"
    from tests.support.precompute_runs import grey_shard

    grey_shard(path, [255] * 20, labels=[1] * 20)
    process = start(words(tmp_path / "c.zarr", [str(path)], *nan))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, stderr
    assert "error KD300: teacher 'nan_cnn' returned NaN" in stderr
    assert "Traceback" not in stderr


def test_shares_by_environment_make_the_cache_of_one(tmp_path: Path, shards: list[str]) -> None:
    processes = [
        start(words(tmp_path / "c.zarr", shards, "--json"), RANK=str(rank), WORLD_SIZE="2")
        for rank in range(2)
    ]
    reports = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        reports.append(json.loads(stdout))
    precompute(config_for(tmp_path / "one.zarr", shards), quiet=True)
    assert data_objects(tmp_path / "c.zarr") == data_objects(tmp_path / "one.zarr")
    assert sum(report["units"] for report in reports) >= 12


def test_a_lonely_share_does_the_rest_as_well(tmp_path: Path, shards: list[str]) -> None:
    report = precompute(config_for(tmp_path / "c.zarr", shards, worker="2/5"), quiet=True)
    assert report.units == 12


def test_batches_side_by_side_change_no_bit(tmp_path: Path, shards: list[str]) -> None:
    for number in (1, 3):
        cache = tmp_path / f"{number}.zarr"
        precompute(config_for(cache, shards, parallel_batches=number), quiet=True)
    assert data_objects(tmp_path / "1.zarr") == data_objects(tmp_path / "3.zarr")
