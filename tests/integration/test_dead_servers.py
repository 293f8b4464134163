"""A server that dies in the middle: a clear error in time, whatever was being done, and the same command goes on."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.share.push import push
from kdcache.store import open_cache
from kdcache.store.objects import open_objects
from kdcache.train import train
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.processes import Process, launch, run_facts
from tests.support.s3 import BUCKET, S3Server, seaweed_server
from tests.support.training import small_cache, small_config

TIMEOUT = 1.0
MOST_SECONDS = TIMEOUT + 3.0
"""A process has to end, too, and two cores may have other things to do."""
SERVED = 20
"""Requests of a command that are answered: it is in the middle of its work then."""
THERE = f"s3://{BUCKET}/there/c.zarr"
CLEAR = re.compile(
    rf"cannot (read|write|look up|list) s3://{BUCKET}/\S+: .*check the server, .*"
    r"\(requests are repeated for 1 s; KDCACHE_REMOTE_TIMEOUT changes that\)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cache, and a run that trained from it."""
    folder = tmp_path_factory.mktemp("made")
    train(small_config(folder, *small_cache(folder, rows_per_block=8, seeds_per_group=2)))
    return folder


@pytest.fixture
def server(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Run a server that has the cache."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    with seaweed_server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        push(folder / "cache.zarr", THERE, quiet=True)
        yield running


def test_a_server_that_dies_is_a_clear_error_within_the_timeout(
    server: S3Server,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for death in ("silence", "reset before", "503"):
        commands = _commands(folder, tmp_path / death, f"s3://{BUCKET}/{death.replace(' ', '-')}/c.zarr")
        with monkeypatch.context() as patch:
            patch.setenv("KDCACHE_REMOTE_TIMEOUT", str(TIMEOUT))
            ends = _ends(server, commands, death, patch)
        with capsys.disabled():
            times = ", ".join(f"{name} {seconds:.1f} s" for name, (seconds, _) in ends.items())
            print(f"\n{death}, {TIMEOUT:g} s allowed: {times}")  # noqa: T201
        for name, (seconds, told) in ends.items():
            assert CLEAR.search(told), f"{name}: {told}"
            assert "Traceback" not in told
            assert seconds < MOST_SECONDS, name
        for name in ("push", "pull"):
            report = run_facts(["kdcache", *commands[name], "--json"])
            assert report["present"] > 0
            assert open_cache(report["destination"]).content_id() == report["content_id"]


def _commands(folder: Path, out: Path, new: str) -> dict[str, list[str]]:
    settings = ["--config", str(folder / "run" / "args.yaml"), "--workers", "1"]
    return {
        "push": ["push", str(folder / "cache.zarr"), new, "--quiet"],
        "pull": ["pull", THERE, str(out / "d.zarr"), "--quiet"],
        "train": ["train", *settings, "--cache", THERE, "--out", str(out / "run"), "--quiet"],
    }


def _ends(
    server: S3Server, commands: dict[str, list[str]], death: str, patch: pytest.MonkeyPatch
) -> dict[str, tuple[float, str]]:
    """Let the server die for each of the commands, a read and a write, all at once; return how they ended."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        waited = {}
        for name, words in commands.items():
            proxy = stack.enter_context(flaky_proxy(server.endpoint))
            proxy.dies_after, proxy.death = SERVED, death
            process = launch(["kdcache", *words], environment={"AWS_ENDPOINT_URL": proxy.endpoint})
            waited[name] = pool.submit(_end_of_command, process, proxy)
        proxy = stack.enter_context(flaky_proxy(server.endpoint))
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        objects = open_objects(THERE)
        assert objects.size("zarr.json") > 0
        proxy.dies_after, proxy.death = len(proxy.requests), death
        waited["read"] = pool.submit(_end_of, partial(objects.get, "zarr.json"))
        waited["write"] = pool.submit(_end_of, partial(objects.put_new, "new", b"data"))
        return {name: future.result() for name, future in waited.items()}


def _end_of_command(process: Process, proxy: FlakyProxy) -> tuple[float, str]:
    """Return the seconds from the server's death to the command's end, and what it said."""
    _, stderr = process.communicate(timeout=60)
    ended = time.monotonic()
    assert (process.returncode, proxy.counts["none"]) == (3, SERVED), stderr
    return ended - proxy.died_at, stderr


def _end_of(request: Callable[[], object]) -> tuple[float, str]:
    started = time.monotonic()
    with pytest.raises(StoreError) as caught:
        request()
    return time.monotonic() - started, str(caught.value)
