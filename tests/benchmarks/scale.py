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
from tests.benchmarks.scale_cache import make_cache, real_outputs
from tests.benchmarks.scale_tables import bytes_by_part, extrapolated

__all__ = ["rows"]

IMAGENET = 1_281_167
SIZES = (10_000, 100_000, IMAGENET)
_ROOT = Path(__file__).resolve().parents[2]
_ONE_BLOCK = "one block at a time"
_WORKERS = {
    _ONE_BLOCK: {"lanes": 1, "shuffle_window": 1},
    "defaults, 1 of 8": {"world": 8},
    "defaults, alone": {},
}


def rows(*, short: bool = False, sizes: tuple[int, ...] = SIZES, folder: Path | None = None) -> list[Row]:
    """Return what was measured; the last size is the one that budgets are about."""
    outputs = real_outputs(4 if short else 16)
    found: list[Row] = []
    held: dict[str, list[float]] = {}
    for num_samples in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place, _home(Path(place)):
            started, views = time.perf_counter(), 2 if short else 10
            cache, shards = make_cache(
                Path(place, "made"), num_samples, num_views=views, outputs=outputs, repeat_samples=short
            )
            seconds = time.perf_counter() - started
            made = f"{num_samples:,} samples x {views} views, {len(shards)} blocks, made in {seconds:.0f} s"
            name, goal = f"{num_samples:,} samples", 0.5 if num_samples == sizes[-1] else None
            found += _opening(cache, shards, name, made, goal=goal, repeats=3 if short else 5)
            found += _reading(cache, name, seeds=range(1, 2 if short else 5))
            if not short or num_samples in {sizes[0], sizes[-1]}:
                _keep_memory(held, cache, shards, short=short)
            info = [_info_seconds(cache) for _ in range(1 if short else 3)]
            found.append(median_of(f"kdcache info, {name}", info, unit="s", note="the whole command"))
            size, costs = bytes_by_part(cache, name)
            found.append(size)
    return found + _memory_rows(held, sizes) + extrapolated(outputs, costs)


def _keep_memory(held: dict[str, list[float]], cache: Path, shards: list[str], *, short: bool) -> None:
    for what, settings in _WORKERS.items():
        if what == _ONE_BLOCK or not short:
            measured = _alone("worker_memory", cache, shards, **settings)
            held.setdefault(what, []).append(measured["megabytes"])


def _memory_rows(held: dict[str, list[float]], sizes: tuple[int, ...]) -> list[Row]:
    found = []
    for what, megabytes in held.items():
        # With more open at a time, 10,000 samples are too few to fill what a worker keeps at hand.
        goal = 1.1 if what == _ONE_BLOCK else None
        note = " / ".join(f"{value:.1f}" for value in megabytes) + " MB of its own"
        name = f"memory of a worker ({what}), {sizes[-1]:,} samples against {sizes[0]:,}"
        ratio = megabytes[-1] / megabytes[0]
        found.append(median_of(name, [ratio], goal=goal, at_least=False, note=note))
    return found


def _opening(
    cache: Path, shards: list[str], name: str, made: str, *, goal: float | None, repeats: int
) -> list[Row]:
    opened = [_alone("opened", cache) for _ in range(repeats)]
    joined = [_alone("first_batch", cache, shards) for _ in range(repeats // 2)]
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
            f"loader ready, {name}",
            [j["ready"] for j in joined],
            unit="s",
            note="shards joined, epoch planned",
        ),
        median_of(
            f"first batch, {name}", [j["first_batch"] for j in joined], unit="s", note="32 views of 32 pixels"
        ),
    ]


def _reading(cache: Path, name: str, *, seeds: range) -> list[Row]:
    reads = [_alone("sequential", cache, aug_seed=seed) for seed in seeds]
    stored = sum(file.stat().st_size for file in (cache / "teachers").rglob("*") if file.is_file())
    views = json.loads((cache / "zarr.json").read_text())["attributes"]["kdcache"]["identity"][
        "num_aug_seeds"
    ]
    seconds = sorted(read["seconds"] for read in reads)[len(reads) // 2]
    note = f"an epoch: {seconds:.2f} s, {stored / views / seconds / 1e6:.0f} MB/s of the disk's bytes"
    return [
        median_of(
            f"targets in order, {name}",
            [read["views"] / read["cpu"] for read in reads],
            unit="views/CPU-s",
            note=note,
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


def _main() -> None:
    run_alone(__doc__, rows, flags={"folder": Path})


if __name__ == "__main__":
    _main()
