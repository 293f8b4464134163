"""What sharing over a network promises, end to end: nothing wrong, nothing lost, and an end when nobody answers.

``make test`` runs short forms, ``make soak`` the long ones; both print what they counted.
"""

import functools
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.errors import StoreError
from kdcache.logits import Float32
from kdcache.share.pull import pull
from kdcache.share.push import push
from kdcache.share.selection import Selection
from kdcache.store import open_cache
from kdcache.store.objects import LocalObjects, open_objects
from kdcache.train import train
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.processes import Process, launch, run, run_facts
from tests.support.real_cache import make_real_cache
from tests.support.s3 import BUCKET, SERVERS, S3Server
from tests.support.shards import write_shards
from tests.support.training import losses_of, small_cache, small_config

SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]
DEATHS = ("silence", "reset before", "503")
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


@dataclass(frozen=True)
class Made:
    """A cache, and a run from it.

    Attributes:
        run: the folder of a run that trained from the disk.
    """

    shards: list[str]
    cache: Path
    run: Path


class Network(NamedTuple):
    """A server, and the proxy through which all requests go."""

    server: S3Server
    proxy: FlakyProxy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        shards, cache = small_cache(folder, rows_per_block=8, seeds_per_group=2)
        train(small_config(folder, shards, cache))
    return Made(shards, cache, folder / "run")


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """Return what starts a server, once each."""
    with ExitStack() as stack:

        @functools.cache
        def start(name: str) -> S3Server:
            return stack.enter_context(SERVERS[name](tmp_path_factory.mktemp(name)))

        yield start


@pytest.fixture
def server(request: pytest.FixtureRequest, start_server: Callable[[str], S3Server]) -> S3Server:
    return start_server(getattr(request, "param", "seaweedfs"))


@pytest.fixture
def network(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Network]:
    """Let every request of this test go through a proxy."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    with flaky_proxy(server.endpoint, seed=20261121) as proxy:
        for name, value in (server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}).items():
            monkeypatch.setenv(name, value)
        yield Network(server, proxy)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return what prints past pytest."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201

    return say


@pytest.mark.parametrize(
    ("server", "count"),
    [
        pytest.param("seaweedfs", (1, 3), id="short"),
        pytest.param("moto", (20, 1), id="moto", marks=SOAK),
        pytest.param("seaweedfs", (20, 1), id="seaweedfs", marks=SOAK),
    ],
    indirect=["server"],
)
def test_a_push_that_is_killed_and_repeated_makes_a_cache_to_pull_and_train_from_elsewhere(
    made: Made, network: Network, tmp_path: Path, count: tuple[int, int], say: Callable[[str], None]
) -> None:
    content_id, rng = open_cache(made.cache).content_id(), random.Random(20261121)
    most = sum(1 + len(record.objects) for record in open_cache(made.cache).records())
    kills, compared = [], 0
    for number in range(count[0]):
        prefix = f"{tmp_path.name}/{number}/c.zarr"
        for kill in range(count[1]):
            enough = 1 + rng.randrange(most * kill // count[1], most * (kill + 1) // count[1])
            kills.append(_kill_push(made.cache, prefix, network, enough))
        url, machine = f"s3://{BUCKET}/{prefix}", tmp_path / f"machine-{number}"
        pushed = run_facts(["kdcache", "push", str(made.cache), url, "--quiet", "--json"])
        # metadata, of which nothing tells yet whether it is right, is written again
        assert (pushed["content_id"], pushed["present"] >= min(kills[-1], most)) == (content_id, True)
        _use_elsewhere(made, url, machine)
        for copy in (network.server.objects(prefix), _files(machine / "c.zarr")):
            del copy["SHA256SUMS"]
            assert copy == _files(made.cache)
            compared += len(copy)
    say(
        f"{network.server.name}: {len(kills)} kills of pushes of {pushed['objects'] + pushed['present']} objects, when "
        f"{min(kills)} to {max(kills)} of them were there; {count[0]} copies made whole, pulled, verified and trained "
        f"from: all ids and losses equal, {compared:,} objects compared, 0 differ"
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path, *_ in LocalObjects(folder).list("")}


def _kill_push(cache: Path, prefix: str, network: Network, enough: int) -> int:
    """Kill a push when there are so many objects, and return how many there are; half a copy does not open."""
    server, proxy = network
    proxy.silent = 0.02
    process = launch(["kdcache", "push", str(cache), f"s3://{BUCKET}/{prefix}", "--jobs", "2", "--quiet"])
    deadline = time.monotonic() + 60
    while len(server.paths(prefix)) < enough:
        assert time.monotonic() < deadline
    process.kill_group()
    assert process.wait(60) == -signal.SIGKILL
    proxy.silent = 0.0
    with pytest.raises(StoreError, match="there is no cache"):
        open_cache(f"s3://{BUCKET}/{prefix}")
    return len(server.paths(prefix))


def _use_elsewhere(made: Made, url: str, machine: Path) -> None:
    """Pull, verify and train in a folder where nothing is known of the cache but its address and content id."""
    machine.mkdir()
    there: dict[str, Any] = {"folder": machine, "environment": {"KDCACHE_HOME": str(machine / "home")}}
    content_id = open_cache(made.cache).content_id()
    shards = [word for shard in made.shards for word in ("--views", shard)]
    for words in (["pull", url, "c.zarr"], ["verify", "c.zarr", *shards, "--all"]):
        assert run_facts(["kdcache", *words, "--quiet", "--json"], **there)["content_id"] == content_id
    config = ["--config", str(made.run / "args.yaml"), "--out", "run"]
    run(["kdcache", "train", *config, "--cache", f"{url}@{content_id}"], **there)
    assert losses_of(machine / "run") == losses_of(made.run)


def test_a_part_transfers_little_more_than_its_objects_and_trains(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Callable[[str], None]
) -> None:
    monkeypatch.setattr("tests.support.real_cache.formula_logits", _noise)
    shards = write_shards(tmp_path / "data", [128])
    settings: dict[str, Any] = {"num_aug_seeds": 10, "seeds_per_group": 1, "teachers": ("a", "b")}
    cache = make_real_cache(tmp_path / "c.zarr", shards, encoding="float32", num_classes=1000, **settings)
    url = f"s3://{BUCKET}/{tmp_path.name}/c.zarr"
    push(cache, url, quiet=True)
    before = network.proxy.num_bytes
    selection = Selection.parse(seeds="3-4", teachers="b", shards=None)
    report = pull(url, tmp_path / "part", selection=selection, quiet=True)
    transferred = network.proxy.num_bytes - before
    part = open_cache(tmp_path / "part")
    selected = sum(record.num_bytes for record in part.records())
    say(f"a part: {transferred:,} bytes transferred, {transferred / selected:.3f} times its objects")
    assert selected < transferred <= 1.1 * selected
    assert transferred < 0.2 * before
    assert report.reads == 4 + 2 * (2 + 1)
    config = small_config(tmp_path, shards, tmp_path / "part", steps=4)
    train(config)
    assert len(losses_of(config.out)) == 4


def _noise(view_3HW: NDArray[np.uint8], num_classes: int) -> Float32:
    """Return logits that no codec makes small."""
    return np.random.default_rng(int(view_3HW.sum())).standard_normal(num_classes, dtype=np.float32)


@pytest.mark.parametrize(
    "deaths", [pytest.param(DEATHS[:1], id="short"), pytest.param(DEATHS, id="soak", marks=SOAK)]
)
def test_a_server_that_dies_in_the_middle_is_a_clear_error_within_the_timeout(
    made: Made, network: Network, tmp_path: Path, deaths: tuple[str, ...], say: Callable[[str], None]
) -> None:
    push(made.cache, THERE, quiet=True)
    for death in deaths:
        new, copy = f"s3://{BUCKET}/{tmp_path.name}/{death[:5]}.zarr", tmp_path / f"{death}.zarr"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KDCACHE_REMOTE_TIMEOUT", str(TIMEOUT))
            ends = _ends(network.server, _commands(made, new, copy), death, patch)
        say(
            f"{death}, {TIMEOUT:g} s allowed: {', '.join(f'{name} {end[0]:.1f} s' for name, end in ends.items())}"
        )
        for name, (seconds, told) in ends.items():
            assert CLEAR.search(told), f"{name}: {told}"
            assert "Traceback" not in told
            assert seconds < MOST_SECONDS, name
        assert push(made.cache, new, quiet=True).present > 0
        assert pull(THERE, copy, quiet=True).present > 0
        assert open_cache(new).content_id() == open_cache(copy).content_id()


def _commands(made: Made, new: str, copy: Path) -> dict[str, list[str]]:
    settings = ["--config", str(made.run / "args.yaml"), "--workers", "1", "--out", f"{copy}-run"]
    return {
        "push": ["push", str(made.cache), new],
        "pull": ["pull", THERE, str(copy)],
        "train": ["train", *settings, "--cache", THERE],
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
            process = launch(["kdcache", *words, "--quiet"], environment={"AWS_ENDPOINT_URL": proxy.endpoint})
            waited[name] = pool.submit(_end_of_command, process, proxy)
        proxy = stack.enter_context(flaky_proxy(server.endpoint))
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        objects = open_objects(THERE)
        assert objects.size("zarr.json") > 0
        proxy.dies_after, proxy.death = len(proxy.requests), death
        waited["read"] = pool.submit(_end_of, functools.partial(objects.get, "zarr.json"))
        waited["write"] = pool.submit(_end_of, functools.partial(objects.put_new, "new", b"data"))
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
