"""Killed at any moment and at every named step of a commit, on a disk and on S3, alone and with others.

``make test`` runs the short form, ``make soak`` the long one; both print what they counted.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.kill_ledger import KillLedger
from tests.support.kill_steps import KINDS, LOCAL_PHASES, REMOTE_PHASES
from tests.support.precompute_runs import config_for, data_objects, words
from tests.support.processes import Process, launch
from tests.support.s3 import SERVERS, S3Server
from tests.support.shards import write_shards

SLOW = "tests.support.teachers:slow_cnn"
KEYS = "--teacher", SLOW, "--parallel-batches", "2"
PLACES = "disk", "seaweedfs"
SOAK = [pytest.mark.soak, pytest.mark.timeout(5400)]


def _places_of(short: str, kills: int) -> pytest.MarkDecorator:
    """Run the short form in one place, the long one in each."""
    short_form = pytest.param(short, kills, 40, id=f"{short}-short")
    long_forms = [pytest.param(place, 100, 400, id=f"{place}-soak", marks=SOAK) for place in PLACES]
    return pytest.mark.parametrize(("place", "kills", "views"), [short_form, *long_forms], indirect=["place"])


@dataclass
class Place:
    """Where caches are made."""

    folder: Path
    shards: list[str]
    server: S3Server | None

    def url(self, name: str) -> str:
        """Return the address of a cache."""
        return (
            f"{self.folder}/{name}.zarr"
            if self.server is None
            else f"s3://caches/{self.folder.name}/{name}.zarr"
        )

    def data(self, url: str) -> dict[str, bytes]:
        """Return the data objects of a cache."""
        if self.server is None:
            return data_objects(Path(url))
        found = self.server.objects(url.removeprefix("s3://caches/"))
        return {path: data for path, data in found.items() if "/c/" in path}

    def undisturbed(self, views: int) -> tuple[str, dict[str, bytes]]:
        """Return content id and data objects of a run in one go."""
        cache = self.folder / f"undisturbed-{views}.zarr"
        if not cache.exists():
            precompute(config_for(cache, self.shards, teachers=[{"model": SLOW}], views=views), quiet=True)
        return open_cache(cache).content_id(), data_objects(cache)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Give six blocks of eight rows, on a disk or before a server."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KDCACHE_TEST_SLEEP", "0")
    shards = write_shards(tmp_path / "shards", [24, 22])
    with contextlib.ExitStack() as stack:
        server = None
        if request.param != "disk":
            server = stack.enter_context(SERVERS[request.param](tmp_path))
            for name, value in server.environment.items():
                monkeypatch.setenv(name, value)
        yield Place(tmp_path, shards, server)


def _environment(place: Place, sleep: float) -> dict[str, str]:
    home = {"KDCACHE_HOME": os.environ["KDCACHE_HOME"], "KDCACHE_TEST_SLEEP": str(sleep)}
    return home | (place.server.environment if place.server else {})


def _arguments(place: Place, url: str, views: int) -> list[str]:
    return ["kdcache", *words(url, place.shards, *KEYS, "--views", str(views), "--quiet")]


def _finish(place: Place, url: str, views: int, ledger: KillLedger) -> None:
    log = place.folder / "last.log"
    child = launch(_arguments(place, url, views), log=log, environment=_environment(place, 0.0))
    assert child.wait() == 0, log.read_text()
    content_id, data = place.undisturbed(views)
    assert open_cache(url).content_id() == content_id
    assert place.data(url) == data
    verify(url)
    assert (ledger.lost, ledger.torn) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "phases"),
    [
        pytest.param("disk", LOCAL_PHASES, id="disk"),
        pytest.param("seaweedfs", REMOTE_PHASES, id="seaweedfs"),
        pytest.param("moto", REMOTE_PHASES, id="moto-soak", marks=pytest.mark.soak),
    ],
    indirect=["place"],
)
def test_a_kill_at_every_named_step_costs_one_unit_at_most(
    place: Place, phases: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ledgers = []
    for phase in phases:
        ledger = KillLedger(place.url(phase.replace(" ", "-")))
        for kind in KINDS:
            # In the order of writing, so that each run comes to its step; the second block is one in the middle.
            step = (phase, kind, 2 if kind in {"array metadata", "samples/key"} else 1)
            log = place.folder / "log"
            child = launch(
                _arguments(place, ledger.url, 8), log=log, step=step, environment=_environment(place, 0.0)
            )
            assert child.wait() == -9, f"{step}: {log.read_text()}"
            ledger.note_kill()
            assert (ledger.lost, ledger.torn) == (0, 0), step
        assert ledger.most_redone <= 1
        _finish(place, ledger.url, 8, ledger)
        ledgers.append(ledger)
    with capsys.disabled():
        steps = f"{len(KINDS)} kinds of objects x {len(phases)} phases"
        print(f"\n{place.url('')}: every named step ({steps}), one worker")  # noqa: T201
        for phase, ledger in zip(phases, ledgers, strict=True):
            print(f"  {phase}: {ledger.summary()}")  # noqa: T201


@pytest.mark.slow
@_places_of(short="disk", kills=8)
def test_kills_at_random_moments_cost_one_unit_each_at_most(
    place: Place, kills: int, views: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url, rng = place.url("random"), random.Random(20261121)
    ledger = KillLedger(url)
    log = place.folder / "log"
    while ledger.kills < kills:
        child = launch(_arguments(place, url, views), log=log, environment=_environment(place, 0.05))
        time.sleep(0.3 + rng.random() * 0.6)
        child.kill_group()
        status = child.wait()
        assert status == -9, f"it ended with {status} before it was killed: {log.read_text()[-1000:]}"
        ledger.note_kill()
    assert ledger.most_redone <= 1
    _finish(place, url, views, ledger)
    with capsys.disabled():
        print(f"\n{url}: one worker; {ledger.summary()}")  # noqa: T201


@pytest.mark.slow
@_places_of(short="seaweedfs", kills=3)
def test_three_workers_that_are_killed_together_lose_one_unit_each_at_most(
    place: Place, kills: int, views: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url, rng = place.url("three"), random.Random(20261122)
    ledger = KillLedger(url)
    while ledger.kills < kills:
        children: list[Process] = []
        for rank in range(3):
            environment = _environment(place, 0.2) | {"RANK": str(rank), "WORLD_SIZE": "3"}
            log = place.folder / f"log-{rank}"
            children.append(launch(_arguments(place, url, views), log=log, environment=environment))
        time.sleep(0.5 + rng.random())
        for child in children:
            child.kill_group()
        for rank, child in enumerate(children):
            status, log = child.wait(), place.folder / f"log-{rank}"
            assert status == -9, f"it ended with {status} before it was killed: {log.read_text()[-1000:]}"
        ledger.note_kill()
    assert ledger.most_redone <= 3
    _finish(place, url, views, ledger)
    with capsys.disabled():
        print(f"\n{url}: three workers, all killed at once; {ledger.summary()}")  # noqa: T201
