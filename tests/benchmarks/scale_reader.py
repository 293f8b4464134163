"""What ``scale`` measures in processes of their own: each prints one line of JSON.

Run ``python -m tests.benchmarks.scale_reader TASK CACHE [SHARD ...]``.
"""

import gc
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from kdcache.store import open_cache

__all__ = ["first_batch", "opened", "sequential", "worker_memory"]

_BATCH = 32
_BATCHES = 192
"""At a million samples, about one from each shuffle window: it takes rows of all of its blocks."""


def opened(cache: str) -> dict[str, float]:
    """Open a cache, and find out what of it is committed: what every run begins with."""
    started = time.perf_counter()
    found = open_cache(cache)
    is_open = time.perf_counter()
    num_records = sum(1 for _ in found.records())
    return {
        "open": is_open - started,
        "records": time.perf_counter() - is_open,
        "num_records": num_records,
    }


def sequential(cache: str, aug_seed: int) -> dict[str, float]:
    """Read the targets of all samples under one seed, block by block."""
    found = open_cache(cache)
    (teacher,) = found.teachers
    found.targets(teacher, 0, aug_seed)
    started, cpu, views = time.perf_counter(), time.process_time(), 0
    for block in found.blocks:
        views += int(found.targets(teacher, block.index, aug_seed).valid_N.sum())
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "views": views}


def first_batch(cache: str, shards: list[str]) -> dict[str, float]:
    """Join a cache with its shards and take a batch, without loader processes."""
    from kdcache.data.loader import distill_loader

    started = time.perf_counter()
    loader = distill_loader(shards, cache=cache, batch_size=_BATCH, num_workers=0)
    ready = time.perf_counter()
    next(loader.epoch(0))
    return {"ready": ready - started, "first_batch": time.perf_counter() - ready}


def worker_memory(cache: str, shards: list[str], *, world: int = 1, **more: int) -> dict[str, float]:
    """Return what a loader worker holds for itself, in megabytes, after batches from all over an epoch.

    Their number does not depend on the cache: the longer a fork runs, the more pages of its parent it has touched.
    """
    from kdcache.data.loader import distill_loader

    settings: dict[str, Any] = more
    gc.freeze()  # else a collection in this process would leave the pages that it copies to the worker, 50 MB
    loader = distill_loader(shards, cache=cache, batch_size=_BATCH, num_workers=1, world=world, **settings)
    served = max(1, loader.plan(0).num_lanes // world)
    visits, turns = max(1, _BATCHES // served), loader.num_batches // served
    for visit in range(visits):
        for _ in islice(loader.epoch(0, start=visit * turns // visits * served), served):
            pass
    held = [_own_megabytes(child.pid or 0) for child in multiprocessing.active_children()]
    return {"megabytes": max(held), "blocks": loader.plan(0).blocks_open(world, reads_ahead=False)}


def _own_megabytes(process: int | str) -> float:
    """Return the memory that a process shares with no other."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_(?:Clean|Dirty): +(\d+) kB", text)) / 1000


def _main() -> None:
    task, cache, options, *shards = sys.argv[1:]
    more: dict[str, int] = json.loads(options)
    tasks: dict[str, Callable[[], dict[str, float]]] = {
        "opened": lambda: opened(cache),
        "sequential": lambda: sequential(cache, **more),
        "first_batch": lambda: first_batch(cache, shards),
        "worker_memory": lambda: worker_memory(cache, shards, **more),
    }
    sys.stdout.write(json.dumps(tasks[task]()) + "\n")


if __name__ == "__main__":
    _main()
