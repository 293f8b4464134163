"""How fast targets are written, against TinyViT's writer.

Run ``python -m tests.benchmarks.write [--short] [--json]``. Both sides begin with the same top 50 of 1,000 classes of
real ImageNet logits on the host, in batches of 256 views, and end with files that are complete: kdcache with finished
units (samples, view digests, targets of the default encoding, commit records), through the code of stage one's writer
thread; TinyViT with a file of records and one of keys, through the queue and the process that write them. Sides take
turns, and CPU seconds are those of all of a side's processes.

Beside it: TinyViT's records written without queue and process; wall time with and without fsync; and what of kdcache's
time selecting the top k and encoding take.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from kdcache.store.writer import CacheWriter
from tests.benchmarks import tinyvit
from tests.benchmarks.cuts import Cuts, teacher_logits
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.units import TEACHER, cache_manifest, key_of, outcomes_of, write_units

__all__ = ["measure", "rows"]

GOAL = 10.0
"""Times the views per CPU-second of TinyViT's writer."""

_TOP_K = 50
_VIEWS = 32_768
"""One unit of a cache with many views, as large as units are by default."""

_BATCH = 256
_ROWS_OF_BLOCKS = (1024, 4096)
_CUT_AT_ONCE = 1024

Seconds = NDArray[np.float64]
Side = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be written.

    Attributes:
        folder: gets a new folder for whatever is written.
        writers: by rows of a block, of caches that are empty yet, one for each turn.
        manifests: by rows of a block.
        batches: by rows of a block, what the teachers hand to the writer.
        keys: TinyViT's key of each view.
    """

    folder: Path
    cuts: Cuts
    manifests: Mapping[int, Manifest]
    batches: Mapping[int, Sequence[Outcome]]
    keys: Sequence[str]
    writers: dict[int, list[CacheWriter]] = field(default_factory=dict)

    def create_caches(self, count: int) -> None:
        """Create so many empty caches of every kind: a run does that once."""
        for size, manifest in self.manifests.items():
            self.writers[size] = [
                CacheWriter.create_or_resume(self._new_folder(), manifest) for _ in range(count)
            ]

    def cache(self, size: int) -> None:
        """Write the cache of blocks of so many rows."""
        write_units(self.writers[size].pop(), self.batches[size])

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
    views_of_each, repeats = (4, 3) if short else (16, 15)
    return measure(teacher_logits(views_of_each), repeats=repeats)


def measure(
    logits_NC: Float32,
    *,
    repeats: int,
    num_views: int = _VIEWS,
    rows_of_blocks: Sequence[int] = _ROWS_OF_BLOCKS,
) -> list[Row]:
    """Write ``num_views`` views, which are like the given ones, from every side."""
    torch.set_num_threads(1)
    cuts = Cuts.like(logits_NC, num_views, _TOP_K)
    manifests = {
        size: cache_manifest(cuts, num_seeds=num_views // size, rows_per_block=size)
        for size in rows_of_blocks
    }
    batches = {
        size: list(outcomes_of(cuts, manifest, batch_size=_BATCH)) for size, manifest in manifests.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        keys = [key_of(number) for number in range(num_views)]
        work = _Work(Path(folder), cuts, manifests, batches, keys)
        work.create_caches(repeats + 1)
        cpu = _per_view(_cpu_sides(work, logits_NC), num_views, repeats, clock=_all_cpu_seconds)
        work.create_caches(2 * (repeats + 1))
        wall = _per_view(_wall_sides(work), num_views, repeats, clock=time.perf_counter)
    cpu["select"] *= num_views / _CUT_AT_ONCE
    return _as_rows(cpu, wall, rows_of_blocks)


def _cpu_sides(work: _Work, logits_NC: Float32) -> dict[str, Side]:
    some = torch.from_numpy(np.resize(logits_NC, (_CUT_AT_ONCE, logits_NC.shape[1])))
    sides: dict[str, Side] = {
        "queue": lambda _: work.tinyvit(tinyvit.write_through_queue, sync=True),
        "direct": lambda _: work.tinyvit(tinyvit.write_directly, sync=True),
        "select": lambda _: cut_top_k(some, work.cuts.top_k),
    }
    for size in work.batches:
        sides[f"cache {size}"] = partial(_write_cache, work, size, True)
        sides[f"encode {size}"] = partial(_encode, work, size)
    return sides


def _wall_sides(work: _Work) -> dict[str, Side]:
    sides: dict[str, Side] = {}
    for sync in (True, False):
        sides[f"queue {sync}"] = partial(_write_records, work, sync)
        for size in work.batches:
            sides[f"cache {size} {sync}"] = partial(_write_cache, work, size, sync)
    return sides


def _write_cache(work: _Work, size: int, sync: bool, _: int) -> None:
    if sync:
        work.cache(size)
        return
    with mock.patch.object(os, "fsync"):
        work.cache(size)


def _write_records(work: _Work, sync: bool, _: int) -> None:
    work.tinyvit(tinyvit.write_through_queue, sync=sync)


def _encode(work: _Work, size: int, _: int) -> None:
    work.encode(size)


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
        for sync in (True, False):
            name = f"{what}, wall time {'with' if sync else 'without'} fsync: TinyViT's writer"
            found.append(_ratio(name, wall, (f"{cache} {sync}", f"queue {sync}"), "second"))
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
