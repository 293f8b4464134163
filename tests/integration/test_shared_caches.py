"""What sharing over a network promises, end to end: nothing wrong, nothing lost, and an end when nobody answers.

``make test`` runs short forms, ``make soak`` the long ones; both print what they counted.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from kdcache.store.objects import LocalObjects, ObjectStore, open_objects
from kdcache.train import train
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.processes import launch, run, run_facts
from tests.support.real_cache import make_real_cache
from tests.support.s3 import BUCKET, SERVERS, S3Server
from tests.support.shards import write_shards
from tests.support.training import losses_of, small_cache, small_config

SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]
SEAWEEDFS_ALONE = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


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


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


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
    "count", [pytest.param((1, 3), id="short"), pytest.param((20, 1), id="soak", marks=SOAK)]
)
def test_a_push_that_is_killed_and_repeated_makes_a_cache_to_pull_and_train_from_elsewhere(
    made: Made, network: Network, tmp_path: Path, count: tuple[int, int], say: Callable[[str], None]
) -> None:
    content_id, rng = open_cache(made.cache).content_id(), random.Random(20261121)
    kills, compared = [], 0
    for number in range(count[0]):
        prefix = f"{tmp_path.name}/{number}/c.zarr"
        kills += [_kill_push(made.cache, prefix, network, rng) for _ in range(count[1])]
        url, machine = f"s3://{BUCKET}/{prefix}", tmp_path / f"machine-{number}"
        pushed = run_facts(["kdcache", "push", str(made.cache), url, "--quiet", "--json"])
        assert (pushed["content_id"], pushed["present"] >= kills[-1]) == (content_id, True)
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


def _kill_push(cache: Path, prefix: str, network: Network, rng: random.Random) -> int:
    """Kill a push halfway, and return how many objects were there; half a copy does not open."""
    server, proxy = network
    proxy.silent = 0.02
    before = len(server.paths(prefix))
    enough = rng.randrange(before + 1, max(before + 2, 85))
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


@pytest.mark.parametrize(
    "count", [pytest.param((100, 40), id="short"), pytest.param((500, 200), id="soak", marks=SOAK)]
)
def test_no_read_is_wrong_and_no_write_is_lost_where_every_third_request_fails(
    network: Network, tmp_path: Path, count: tuple[int, int], say: Callable[[str], None]
) -> None:
    (server, proxy), (reads, writes) = network, count
    proxy.share = 0.35
    objects, rng = open_objects(f"s3://{BUCKET}/{tmp_path.name}"), random.Random(20261121)
    fresh, changed, taken = writes * 12 // 20, writes * 3 // 20, writes * 2 // 20
    wanted = {f"{n % 7}/{n:03d}": rng.randbytes(rng.randrange(1, 1 << 15)) for n in range(fresh)}
    paths = list(wanted)
    others = {path: rng.randbytes(100) for path in paths[: 2 * changed]}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: objects.put_new(path, wanted[path]), wanted))
        list(pool.map(lambda path: objects.replace(path, others[path]), paths[:changed]))
        list(
            pool.map(
                lambda path: objects.swap(path, wanted[path], others[path]), paths[changed : 2 * changed]
            )
        )
        assert not any(pool.map(lambda path: objects.put_new(path, b"another's"), paths[-taken:]))
        wanted |= others
        asked = [rng.choice(list(wanted)) for _ in range(reads)]
        wrong = sum(pool.map(lambda n: not _reads_right(objects, wanted, asked[n], n), range(reads)))
    lost = wanted.items() - server.objects(tmp_path.name).items()
    say(
        f"{server.name}: {reads} reads and {writes} writes took {len(proxy.requests)} requests, {proxy.num_faults} of "
        f"them failed ({_faults(proxy)}): {wrong} wrong, {len(lost)} lost"
    )
    assert (wrong, len(lost)) == (0, 0)
    assert {path for path, *_ in objects.list("")} == wanted.keys()
    assert proxy.num_faults > 0.3 * len(proxy.requests)


def _reads_right(objects: ObjectStore, wanted: dict[str, bytes], path: str, number: int) -> bool:
    """Read in one of the four ways and compare."""
    data = wanted[path]
    if number % 4 == 0:
        return objects.get(path) == data
    if number % 4 == 1:
        return objects.size(path) == len(data)
    if number % 4 == 2:
        folder = path[:1]
        found = {entry.path: entry.size for entry in objects.list(folder)}
        return found == {path: len(data) for path, data in wanted.items() if path.startswith(f"{folder}/")}
    start = len(data) // 3
    return objects.get_range(path, start, 1000) == data[start : start + 1000]


def _faults(proxy: FlakyProxy) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.counts.items()) if kind != "none")


@SEAWEEDFS_ALONE
def test_a_part_transfers_little_more_than_its_objects_and_trains(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    targets = sum(record.num_bytes for record in part.records() if record.unit.startswith("b/"))
    assert selected < transferred <= 1.1 * targets
    assert transferred < 0.2 * before
    assert report.reads == 4 + 2 * (2 + 1)
    config = small_config(tmp_path, shards, tmp_path / "part", steps=4)
    train(config)
    assert len(losses_of(config.out)) == 4


def _noise(view_3HW: NDArray[np.uint8], num_classes: int) -> Float32:
    """Return logits that no codec makes small."""
    return np.random.default_rng(int(view_3HW.sum())).standard_normal(num_classes, dtype=np.float32)
