"""What a cache of a million samples costs to open, to read, to keep in memory and on disk.

Run ``python -m tests.benchmarks.scale [--short] [--json] [--folder FOLDER]``. It writes caches of 10,000, 100,000 and
1,281,167 samples (ImageNet-1k) with their shards below a temporary folder, and measures each in fresh processes. The
short form has 2 views of each sample instead of 10 and the same samples in all shards: as many blocks, units, objects
and records, fewer bytes.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import Row, median_of, run_alone
from tests.benchmarks.scale_cache import Outputs, make_cache, real_outputs
from tests.benchmarks.scale_tables import bytes_by_part, extrapolated

__all__ = ["rows"]

IMAGENET = 1_281_167
SIZES = (10_000, 100_000, IMAGENET)
_ROOT = Path(__file__).resolve().parents[2]
_WORKERS = {
    "lanes=1": {"lanes": 1},
    "defaults, 1 of 8": {"world": 8, "rank": 0},
    "defaults, alone": {},
}


def rows(
    *,
    short: bool = False,
    folder: Path | None = None,
    sizes: tuple[int, ...] = SIZES,
    crops: int | None = None,
) -> list[Row]:
    """Return what was measured; the last size is the one that budgets are about."""
    outputs = real_outputs(crops or (4 if short else 16))
    found: list[Row] = []
    held: dict[str, list[float]] = {}
    for num_samples in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place, _home(Path(place)):
            found += _of_size(Path(place), num_samples, outputs, held, short=short, is_last=num_samples == sizes[-1])
    for what, megabytes in held.items():
        # Only one lane's windows are full at 10,000 samples already.
        goal = 1.1 if what == "lanes=1" else None
        note = " / ".join(f"{value:.1f}" for value in megabytes) + " MB of its own"
        what = f"memory of a worker ({what}), {sizes[-1]:,} samples against {sizes[0]:,}"
        found.append(median_of(what, [megabytes[-1] / megabytes[0]], goal=goal, at_least=False, note=note))
    return found + extrapolated(outputs, short=short)


def _of_size(
    folder: Path, num_samples: int, outputs: Outputs, held: dict[str, list[float]], *, short: bool, is_last: bool
) -> list[Row]:
    started, views = time.perf_counter(), 2 if short else 10
    cache, shards = make_cache(
        folder / "made", num_samples, num_views=views, outputs=outputs, repeat_samples=short
    )
    made = f"{num_samples:,} samples x {views} views, {len(shards)} blocks, made in {time.perf_counter() - started:.0f} s"
    name = f"{num_samples:,} samples"
    found = _opening(cache, shards, name, made, goal=0.5 if is_last else None, repeats=3 if short else 7)
    found += _reading(cache, name, seeds=range(1, 2 if short else 5))
    for what, settings in _WORKERS.items():
        if what == "lanes=1" or not short:
            measured = _alone("worker_memory", cache, shards, **settings)
            held.setdefault(what, []).append(measured["megabytes"])
    seconds = [_info_seconds(cache) for _ in range(1 if short else 5)]
    found.append(median_of(f"kdcache info, {name}", seconds, unit="s", note="the whole command"))
    return found + bytes_by_part(cache, name, num_views=num_samples * views)


def _opening(
    cache: Path, shards: list[str], name: str, made: str, *, goal: float | None, repeats: int
) -> list[Row]:
    opened = [_alone("opened", cache) for _ in range(repeats)]
    joined = [_alone("first_batch", cache, shards) for _ in range(max(1, repeats // 2))]
    records = f"{opened[0]['num_records']:.0f} records"
    return [
        median_of(
            f"open, {name}", [o["open"] for o in opened], unit="s", goal=goal, at_least=False, note=made
        ),
        median_of(
            f"open and all commit records, {name}",
            [o["open"] + o["records"] for o in opened],
            unit="s",
            goal=goal,
            at_least=False,
            note=records,
        ),
        median_of(
            f"loader ready, {name}", [j["ready"] for j in joined], unit="s", note="shards joined, epoch planned"
        ),
        median_of(
            f"first batch, {name}", [j["first_batch"] for j in joined], unit="s", note="32 views of 32 pixels"
        ),
    ]


def _reading(cache: Path, name: str, *, seeds: range) -> list[Row]:
    reads = [_alone("sequential", cache, aug_seed=seed) for seed in seeds]
    stored = sum(file.stat().st_size for file in (cache / "teachers").rglob("*") if file.is_file())
    views = json.loads((cache / "zarr.json").read_text())["attributes"]["kdcache"]["identity"]["num_aug_seeds"]
    seconds = sorted(read["seconds"] for read in reads)[len(reads) // 2]
    note = f"an epoch: {seconds:.2f} s, {stored / views / seconds / 1e6:.0f} MB/s of the disk's bytes"
    return [
        median_of(
            f"targets in order, {name}", [read["views"] / read["cpu"] for read in reads], unit="views/CPU-s", note=note
        )
    ]


def _alone(task: str, cache: Path, shards: list[str] | None = None, **options: Any) -> dict[str, float]:
    """Run a task of ``scale_reader`` in a fresh process."""
    module = [sys.executable, "-m", "tests.benchmarks.scale_reader", task]
    return dict(json.loads(_run([*module, str(cache), json.dumps(options), *(shards or [])])))


def _info_seconds(cache: Path) -> float:
    started = time.perf_counter()
    text = _run([sys.executable, "-m", "kdcache_cli.main", "info", str(cache)])
    assert re.search("content id|sha256:", text), text
    return time.perf_counter() - started


def _run(command: list[str]) -> str:
    paths = f"{_ROOT}{os.pathsep}{_ROOT / 'cli'}"
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=env).stdout


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Keep the indexes of shards there."""
    before = os.environ.get("KDCACHE_HOME")
    os.environ["KDCACHE_HOME"] = str(folder / "home")
    try:
        yield
    finally:
        os.environ.pop("KDCACHE_HOME")
        if before is not None:
            os.environ["KDCACHE_HOME"] = before


if __name__ == "__main__":
    run_alone(__doc__, rows)
