"""Actors of a Ray cluster end in the cache of one process, and so do actors that die."""

import contextlib
import logging
import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.precompute_runs import config_for, data_objects, grey_shard, start, words
from tests.support.processes import Process
from tests.support.shards import write_shards

SLOW = "tests.support.teachers:slow_cnn"

pytestmark = [
    pytest.mark.slow,
    # Ray leaves its log files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # What Ray will do about visible devices in a later version is no matter of ours: an actor names its device.
    pytest.mark.filterwarnings("ignore:.*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO:FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give Ray a folder, and a token that it then need not write into the user's home."""
    # The folder has a short name: it becomes part of socket names, which end at 107 bytes.
    folder = tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True)
    with folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder.name)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="module")
def address(_surroundings: None) -> Iterator[str]:
    """Start a Ray in this process, as the user of the library may."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    context: Any = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        logging_level=logging.ERROR,
    )
    yield context.address_info["gcs_address"]
    ray.shutdown(wait_for_processes=True)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Return two shards: six blocks of eight rows, two groups of two seeds each."""
    return write_shards(tmp_path / "shards", [24, 22])


def _count(cache: Path) -> int:
    return len(list((cache / "commits").glob("*cnn/*.json")))


def _wait_for_units(cache: Path, count: int, process: Process) -> None:
    deadline = time.monotonic() + 120
    while _count(cache) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        listing = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
        return [int(child) for child in listing.split()]
    return []


def _actors() -> list[int]:
    """Return the processes of actors in the Ray of this process."""
    workers = [worker for child in _children(os.getpid()) for worker in _children(child)]
    return [pid for pid in workers if b"ray::UnitActor" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _kill_the_actor(cache: Path) -> None:
    while _count(cache) < 1:
        time.sleep(0.01)
    (actor,) = _actors()
    os.kill(actor, signal.SIGKILL)


@pytest.fixture
def one(tmp_path: Path, shards: list[str]) -> Path:
    """Return the cache that one process makes."""
    precompute(config_for(tmp_path / "one.zarr", shards, teachers=[{"model": SLOW}], views=8), quiet=True)
    return tmp_path / "one.zarr"


def test_two_actors_make_the_cache_of_one_process(
    tmp_path: Path, shards: list[str], one: Path, address: str
) -> None:
    import ray

    settings = config_for(
        tmp_path / "two.zarr", shards, teachers=[{"model": SLOW}], views=8, engine="ray", workers=2
    )
    report = precompute(settings, quiet=True)
    assert (report.units, report.workers, report.views) == (24, 2, 368)
    assert report.teachers["slow_cnn"].labelled == 368
    assert data_objects(one) == data_objects(tmp_path / "two.zarr")
    assert open_cache(one).content_id() == open_cache(tmp_path / "two.zarr").content_id()
    assert ray.is_initialized()
    again = precompute(settings, quiet=True)
    assert (again.units, again.units_before) == (0, 24)


def test_ray_restarts_an_actor_that_is_killed(
    tmp_path: Path, shards: list[str], one: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "c.zarr"
    settings = config_for(cache, shards, teachers=[{"model": SLOW}], views=8, engine="ray")
    killer = threading.Thread(target=_kill_the_actor, args=(cache,), daemon=True)
    killer.start()
    report = precompute(settings)
    killer.join()
    assert report.units == 24
    assert "and restarted (process" in capsys.readouterr().err
    assert data_objects(one) == data_objects(cache)
    assert open_cache(one).content_id() == open_cache(cache).content_id()
    verify(cache)


def test_what_an_actor_meets_is_told_by_the_command(tmp_path: Path, address: str) -> None:
    shard = grey_shard(tmp_path / "white.tar", [255] * 20, labels=[1] * 20)
    nan = ["--teacher", "tests.support.teachers:nan_cnn", "--engine", "ray", "--ray-address", address]
    process = start(words(tmp_path / "c.zarr", [str(shard)], *nan))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, stderr
    assert "error KD300: teacher 'nan_cnn' returned NaN" in stderr
    assert "Traceback" not in stderr


def test_a_signal_to_the_group_ends_a_run_and_its_own_ray(tmp_path: Path, shards: list[str]) -> None:
    cache = tmp_path / "c.zarr"
    slow = ["--teacher", SLOW, "--views", "16", "--engine", "ray"]
    process = start(words(cache, shards, *slow))
    _wait_for_units(cache, 2, process)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 5, stderr
    assert "of 48 units are committed and stay; to continue: kdcache precompute" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    committed = _count(cache)
    settings = config_for(cache, shards, teachers=[{"model": SLOW}], views=16)
    assert precompute(settings, quiet=True).units_before == committed
    verify(cache)
