"""How long the first answer takes: of the command, of the library, of a cache, of a loader.

Run ``python -m tests.benchmarks.startup [--short] [--json]``. Every figure is that of fresh processes, in turns, on the
wall; libraries lie in the system's file cache, as the turn that is not counted leaves them. The cache is small (256
samples in views of 224 pixels); ``scale.py`` opens large ones.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.step_data import StepData, make_data
from tests.support.source import ROOT

__all__ = ["HELP_GOAL", "main", "rows"]

HELP_GOAL = 0.3
_BATCH = 64
_OPENING = """
import json, sys, time
before = time.perf_counter()
from kdcache.store.reader import open_cache
imported = time.perf_counter()
cache = open_cache(sys.argv[1])
print(json.dumps({"import": imported - before, "open": time.perf_counter() - imported}))
"""
_FIRST_BATCH = """
import json, sys, time
before = time.perf_counter()
from kdcache.data.loader import distill_loader
imported = time.perf_counter()
loader = distill_loader(sys.argv[2:], cache=sys.argv[1], batch_size=BATCH)
built = time.perf_counter()
batches = loader.epoch(0)
assert len(next(batches)) == BATCH
first = time.perf_counter()
assert len(next(batches)) == BATCH
second = time.perf_counter()
seconds = {"import": imported - before, "build": built - imported, "first": first - built, "second": second - first}
print(json.dumps(seconds))
""".replace("BATCH", str(_BATCH))


def rows(
    *, short: bool = False, samples: int = 256, size: int = 224, repeats: int | None = None
) -> list[Row]:
    """Measure everything."""
    repeats = repeats or (5 if short else 15)
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | {
            "KDCACHE_HOME": f"{name}/home",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
            "OMP_NUM_THREADS": "1",
        }
        data = make_data(Path(name) / "data", [samples], views=2, size=size)
        return [*_commands(repeats, environment), *_caches(data, repeats, environment)]


def _run(words: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=dict(environment))
    return done.stdout


def _commands(repeats: int, environment: Mapping[str, str]) -> list[Row]:
    command = str(Path(sys.executable).parent / "kdcache")
    sides = [[command, "--help"], [sys.executable, "-c", "import kdcache"], [sys.executable, "-c", "pass"]]
    seconds = in_turns(
        [partial(_turn, words, environment) for words in sides], repeats, clock=time.perf_counter
    )
    bare = median_of("", seconds[2]).median
    note = f"a process that does nothing takes {bare:.3f} s"
    return [
        median_of("kdcache --help", seconds[0], unit="s", goal=HELP_GOAL, at_least=False, note=note),
        median_of("import kdcache, process and all", seconds[1], unit="s", note=note),
    ]


def _turn(words: list[str], environment: Mapping[str, str], _: int) -> None:
    _run(words, environment)


def _caches(data: StepData, repeats: int, environment: Mapping[str, str]) -> list[Row]:
    opened = [_told(_OPENING, data, environment) for _ in range(repeats + 1)][1:]
    batches = [_told(_FIRST_BATCH, data, environment) for _ in range(max(1, repeats // 2) + 1)]
    without_index, batches = batches[0], batches[1:]
    imports = [median_of("", [one["import"] for one in some]).median for some in (opened, batches)]
    first = [one["build"] + one["first"] for one in batches]
    second = median_of("", [one["second"] for one in batches]).median
    build = median_of("", [one["build"] for one in batches]).median
    return [
        median_of(
            f"open_cache, {data.num_samples:,} samples",
            [1e3 * one["open"] for one in opened],
            unit="ms",
            note=f"after importing kdcache.store, {imports[0]:.2f} s",
        ),
        median_of(
            f"first batch of {_BATCH} after distill_loader is called",
            first,
            unit="s",
            note=f"of it distill_loader {build:.3f} s (with shards to index {without_index['build']:.3f} s); the "
            f"second batch takes {second:.3f} s, and importing kdcache.data.loader (torch) {imports[1]:.2f} s",
        ),
    ]


def _told(code: str, data: StepData, environment: Mapping[str, str]) -> dict[str, Any]:
    words = [sys.executable, "-c", code, str(data.cache), *data.shards]
    seconds: dict[str, Any] = json.loads(_run(words, environment))
    return seconds


def main() -> None:
    """Print the table."""
    run_alone(__doc__, rows)


if __name__ == "__main__":
    main()
