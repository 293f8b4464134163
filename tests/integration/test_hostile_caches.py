"""A cache from a stranger can be refused; it can do nothing else.

Each case is a small real cache, changed as somebody could who makes every checksum right. Verifying and training must
both refuse it with one error that names the object, touch nothing outside of its folder, take no gigabyte and no time.
"""

import multiprocessing
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pytest

from kdcache.data.loader import distill_loader
from kdcache.errors import KdcacheError
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.hostile_caches import HOSTILE
from tests.support.training import small_cache

MOST_KILOBYTES: Final = 1 << 20
MOST_SECONDS: Final = 20.0
NUM_AUG_SEEDS: Final = 2


class Outcome(NamedTuple):
    """What came of a hostile cache: an error from each who looked at it, and what more memory and time that took."""

    opened: str
    verified: str
    trained: str
    kilobytes: int
    seconds: float


def train(cache: Path, shards: list[str]) -> None:
    """Read every view of a cache once."""
    loader = distill_loader(shards, cache=cache, batch_size=8, check_views=1)
    for epoch in range(NUM_AUG_SEEDS):
        for batch in loader.epoch(epoch):
            assert batch.teachers


def refusal(look: Callable[[], object]) -> str:
    """Return the message with which kdcache refuses; anything else that is raised counts as none."""
    try:
        look()
    except KdcacheError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - reported, and then not what is expected
        return f"NOT REFUSED: {error!r}"
    return ""


def memory(kind: Literal["VmRSS", "VmHWM"]) -> int:
    """Return what this process holds, or held at most since ``Path("/proc/self/clear_refs")`` was told 5."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1])


def look_at(cache: Path, shards: list[str]) -> Outcome:
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory("VmRSS"), time.monotonic()
    looks = (partial(open_cache, cache), partial(verify, cache), partial(train, cache, shards))
    opened, verified, trained = (refusal(look) for look in looks)
    return Outcome(opened, verified, trained, memory("VmHWM") - before, time.monotonic() - start)


def look_at_all(caches: dict[str, tuple[Path, list[str]]], answers: Connection) -> None:
    """Send (name, outcome) of each cache; runs in a process of its own, whose memory is measured."""
    for name, (cache, shards) in caches.items():
        answers.send((name, look_at(cache, shards)))
    answers.close()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything around a cache."""
    stats = {str(path): path.lstat() for path in folder.rglob("*") if "cache.zarr" not in path.parts}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], Path]]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        encoding: small_cache(
            folder / encoding, encoding=encoding, num_aug_seeds=NUM_AUG_SEEDS, seeds_per_group=1, kept=kept
        )
        for encoding, kept in (("gap8", 4), ("float32", 10))
    }


@pytest.fixture(scope="module")
def outcomes(
    bases: dict[str, tuple[list[str], Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Outcome, bool]]:
    """Return by name what came of each hostile cache, and whether all around it stayed as it was."""
    arena = tmp_path_factory.mktemp("arena")
    caches, around = {}, {}
    for name, hostile in HOSTILE.items():
        shards, base = bases[hostile.base]
        folder = arena / name.replace("/", "_")
        (folder / "outside").mkdir(parents=True)
        (folder / "outside/canary").write_text("untouched")
        cache = Path(shutil.copytree(base, folder / "cache.zarr"))
        hostile.change(cache)
        caches[name], around[name] = (cache, shards), listing(folder)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=look_at_all, args=(caches, theirs))
    process.start()
    theirs.close()
    found: dict[str, tuple[Outcome, bool]] = {}
    for _ in caches:
        assert ours.poll(3 * MOST_SECONDS), f"no answer after {list(found)[-1:]}"
        name, outcome = ours.recv()
        found[name] = (outcome, listing(caches[name][0].parent) == around[name])
    process.join()
    return found


@pytest.mark.parametrize("encoding", ["gap8", "float32"])
def test_the_caches_that_are_changed_are_good_ones(
    bases: dict[str, tuple[list[str], Path]], encoding: str
) -> None:
    shards, cache = bases[encoding]
    verify(cache)
    train(cache, shards)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_cache_is_refused_by_verify_and_by_training(
    outcomes: dict[str, tuple[Outcome, bool]], name: str
) -> None:
    outcome, is_untouched = outcomes[name]
    hostile = HOSTILE[name]
    if hostile.opens:
        assert outcome.opened == ""
    else:
        assert re.search(hostile.message, outcome.opened)
    assert re.search(hostile.message, outcome.verified)
    assert re.search(hostile.message, outcome.trained)
    assert max(len(outcome.verified), len(outcome.trained)) < 1000
    assert is_untouched
    assert outcome.kilobytes < MOST_KILOBYTES
    assert outcome.seconds < MOST_SECONDS
