"""How fast targets are written, against TinyViT's writer.

Run ``python -m tests.benchmarks.write [--short] [--json]``. Both sides begin with the same top 50 of 1,000 classes of
real ImageNet logits on the host, in batches of 256 views, and end with files that are complete: kdcache with finished
units (samples, view digests, targets of the default encoding, commit records), through the code of stage one's writer
thread; TinyViT with a file of records and one of keys, through the queue and the process that write them. Sides take
turns, and CPU seconds are those of all of a side's processes.

Beside it: TinyViT's records written without queue and process; wall time with and without fsync; and what of kdcache's
time selecting the top k and encoding take.
"""

import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from kdcache.logits import Float32
from kdcache.precompute.cut import cut_top_k
from kdcache.precompute.encoded_rows import EncodedRows
from kdcache.precompute.outcome import Outcome
from kdcache.store.manifest import Manifest
from tests.benchmarks import tinyvit
from tests.benchmarks.cuts import Cuts, teacher_logits
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.units import TEACHER, cache_manifest, key_of, outcomes_of, write_cache

__all__ = ["measure", "rows"]

GOAL = 10.0
"""Times the views per CPU-second of TinyViT's writer."""

_TOP_K = 50
_SEEDS = 8
_BATCH = 256
_ROWS_OF_BLOCKS = (1024, 4096)
_CUT_AT_ONCE = 1024

Seconds = NDArray[np.float64]
Side = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be written.

    Attributes:
        folder: gets a new folder for each cache.
        manifests: by rows of a block.
        batches: by rows of a block, what the teachers hand to the writer.
        keys: TinyViT's key of each view.
    """

    folder: Path
    cuts: Cuts
    manifests: Mapping[int, Manifest]
    batches: Mapping[int, Sequence[Outcome]]
    keys: Sequence[str]

    def cache(self, size: int) -> None:
        """Write the cache of blocks of so many rows."""
        write_cache(self._new_folder() / "cache", self.manifests[size], self.batches[size])

    def tinyvit(self, write: Callable[..., None], *, sync: bool) -> None:
        """Write TinyViT's files."""
        write(self._new_folder(), self.keys, self.cuts.ids_NK, self.cuts.probs_NK, sync=sync)

    def encode(self, size: int) -> None:
        """Encode what the teachers hand over, and drop it."""
        entry = self.manifests[size].identity.teachers[TEACHER]
        for outcome in self.batches[size]:
            values = outcome.cuts[TEACHER].to_numpy()
            EncodedRows.of(values, np.ones(len(values), dtype=bool), entry)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def rows(*, short: bool = False) -> list[Row]:
    """Measure everything."""
    views_of_each, repeats = (4, 5) if short else (16, 15)
    return measure(teacher_logits(views_of_each), num_samples=4096, repeats=repeats)


def measure(
    logits_NC: Float32, *, num_samples: int, repeats: int, rows_of_blocks: Sequence[int] = _ROWS_OF_BLOCKS
) -> list[Row]:
    """Write ``num_samples`` samples under 8 seeds from every side; their views are like the given ones."""
    torch.set_num_threads(1)
    cuts = Cuts.like(logits_NC, num_samples * _SEEDS, _TOP_K)
    manifests = {size: cache_manifest(cuts, num_seeds=_SEEDS, rows_per_block=size) for size in rows_of_blocks}
    batches = {
        size: list(outcomes_of(cuts, manifest, batch_size=_BATCH)) for size, manifest in manifests.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        work = _Work(Path(folder), cuts, manifests, batches, [key_of(number) for number in range(len(cuts))])
        cpu = _per_view(_cpu_sides(work, logits_NC), len(cuts), repeats, clock=_all_cpu_seconds)
        wall = _per_view(_wall_sides(work), len(cuts), repeats, clock=time.perf_counter)
    return _as_rows(cpu, wall, rows_of_blocks)


def _cpu_sides(work: _Work, logits_NC: Float32) -> dict[str, Side]:
    some = torch.from_numpy(np.resize(logits_NC, (_CUT_AT_ONCE, logits_NC.shape[1])))

    def select(_: int) -> None:
        for _first in range(0, len(work.cuts), _CUT_AT_ONCE):
            cut_top_k(some, work.cuts.top_k)

    sides: dict[str, Side] = {
        "queue": lambda _: work.tinyvit(tinyvit.write_through_queue, sync=True),
        "direct": lambda _: work.tinyvit(tinyvit.write_directly, sync=True),
        "select": select,
    }
    for size in work.batches:
        sides[f"cache {size}"] = lambda _, size=size: work.cache(size)  # type: ignore[misc]
        sides[f"encode {size}"] = lambda _, size=size: work.encode(size)  # type: ignore[misc]
    return sides


def _wall_sides(work: _Work) -> dict[str, Side]:
    sides: dict[str, Side] = {}
    for sync in (True, False):
        name = _syncing(sync)
        sides[f"queue {name}"] = lambda _, sync=sync: work.tinyvit(tinyvit.write_through_queue, sync=sync)  # type: ignore[misc]
        sides[f"direct {name}"] = lambda _, sync=sync: work.tinyvit(tinyvit.write_directly, sync=sync)  # type: ignore[misc]
    for size in work.batches:
        sides[f"cache {size} {_syncing(True)}"] = lambda _, size=size: work.cache(size)  # type: ignore[misc]
        sides[f"cache {size} {_syncing(False)}"] = lambda _, size=size: _without_sync(work, size)  # type: ignore[misc]
    return sides


def _without_sync(work: _Work, size: int) -> None:
    with mock.patch.object(os, "fsync"):
        work.cache(size)


def _syncing(sync: bool) -> str:
    return "with fsync" if sync else "without fsync"


def _all_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _per_view(
    sides: Mapping[str, Side], num_views: int, repeats: int, *, clock: Callable[[], float]
) -> dict[str, Seconds]:
    found = in_turns(list(sides.values()), repeats, clock=clock)
    return {name: np.array(times) / num_views for name, times in zip(sides, found, strict=True)}


def _as_rows(
    cpu: Mapping[str, Seconds], wall: Mapping[str, Seconds], rows_of_blocks: Sequence[int]
) -> list[Row]:
    found = []
    for size in rows_of_blocks:
        what, cache = f"blocks of {size:,} rows", f"cache {size}"
        found += [
            _ratio(f"{what}: TinyViT's writer", cpu, (cache, "queue"), "CPU-second", goal=GOAL),
            _ratio(f"{what}: its records, without its queue", cpu, (cache, "direct"), "CPU-second"),
        ]
        for sync, reference in itertools.product((True, False), ("queue", "direct")):
            name = _syncing(sync)
            theirs = "TinyViT's writer" if reference == "queue" else "its records, without its queue"
            sides = f"{cache} {name}", f"{reference} {name}"
            found.append(_ratio(f"{what}, wall time {name}: {theirs}", wall, sides, "second"))
        found.append(_speed(f"{what}: of that, encoding", cpu[f"encode {size}"]))
        found.append(_speed(f"{what}: of that, all else", cpu[cache] - cpu[f"encode {size}"]))
    return [*found, _speed("before all that: selecting the top k on the CPU", cpu["select"])]


def _ratio(
    what: str, seconds: Mapping[str, Seconds], sides: tuple[str, str], unit: str, goal: float | None = None
) -> Row:
    ours, theirs = (seconds[side] for side in sides)
    speeds = [f"{1.0 / float(np.median(side)):,.0f}" for side in (ours, theirs)]
    note = f"{speeds[0]} against {speeds[1]} views per {unit}"
    return median_of(what, (theirs / ours).tolist(), goal=goal, note=note)


def _speed(what: str, seconds: Seconds) -> Row:
    return median_of(what, (1.0 / seconds).tolist(), unit="views per CPU-second")


if __name__ == "__main__":
    run_alone(__doc__, rows)
