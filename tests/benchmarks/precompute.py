"""Does stage one keep teacher and readers busy? Its views/s against the bound of its two parts.

Run ``python -m tests.benchmarks.precompute [--short] [--json] [--device cuda] [--model NAME] [--seconds N]
[--repeats N]``. The parts, each with the whole machine to itself, take turns with the whole, in one process:

- teacher: the network over views that lie in memory (on an accelerator: on the device), forward pass only;
- render: reading, decoding and rendering alone;
- run: stage one, from shards to committed units.

Where both share the cores of a CPU the bound is 1 / (1 / teacher + 1 / render); with an accelerator, the smaller one.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from webdataset.writer import TarWriter

from kdcache.config.precompute import PrecomputeConfig
from kdcache.precompute.batches import teacher_logits
from kdcache.precompute.plan import Task
from kdcache.precompute.prepare import Prepared, Settings, prepare, work_of
from kdcache.precompute.reader import ItemReader, RenderedItem, rendered_items
from kdcache.precompute.worker import Worker, computing_threads
from kdcache.runtime.interrupt import Interrupts
from kdcache.store.layout import THUMBNAIL_ROWS
from tests.benchmarks.rows import Row, median_of, run_alone
from tests.benchmarks.views import photographs

__all__ = ["rows"]

GOAL = 0.95


class _Tasks:
    """Tasks until the time is up."""

    def __init__(self, tasks: Iterator[Task], seconds: float) -> None:
        self._tasks, self._seconds = tasks, seconds
        self._rounds = 0

    def more(self) -> bool:
        """Return True once."""
        self._rounds += 1
        self._deadline = time.monotonic() + self._seconds
        return self._rounds == 1

    def __iter__(self) -> Iterator[Task]:
        """Yield tasks, at least one."""
        yield next(self._tasks)
        yield from itertools.takewhile(lambda _: time.monotonic() < self._deadline, self._tasks)


def _write_shards(folder: Path, shards: int, samples: int) -> list[str]:
    pictures = photographs(12)
    paths = []
    for shard in range(shards):
        paths.append(str(folder / f"train-{shard:03d}.tar"))
        with TarWriter(paths[-1], encoder=False) as sink:
            for sample in range(samples):
                number = shard * samples + sample
                picture = pictures[number % len(pictures)]
                sink.write({"__key__": f"{number:06d}", "jpg": picture, "cls": b"%d" % (number % 1000)})
    return paths


def _prepared(folder: Path, model: str, device: str, size: int, more: dict[str, Any]) -> Prepared:
    weights = folder / "weights.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_file(timm.create_model(model).state_dict(), weights)
    config = PrecomputeConfig.parse(
        {
            "shards": [str(folder / "train-*.tar")],
            "cache": str(folder / f"cache-{len(list(folder.iterdir()))}.zarr"),
            "teachers": [{"model": model, "checkpoint": str(weights), "top_k": 50, "size": size, **more}],
            "policy": {"preset": "rrc", "size": size},
            "views": 2000,
            "rows_per_block": 64,
            "seeds_per_group": 2,
            "device": device,
            "compile": device != "cpu",
            "teacher_check": False,
        },
        where="benchmark",
    )
    return prepare(Settings.of(config), say=lambda _: None)


def _run(prepared: Prepared, tasks: Iterator[Task], seconds: float) -> tuple[float, dict[str, float]]:
    worker = Worker(prepared, num_samples=1 << 30, advance=lambda _: None)
    started = time.monotonic()
    with computing_threads(prepared.settings.tuning.teacher_threads):
        worker.run(_Tasks(tasks, seconds), Interrupts(), lambda: "")
    taken = time.monotonic() - started
    report = worker.report(units_before=0)
    waits = {
        "reader": report.reader_wait_seconds / taken,
        "teacher": report.teacher_wait_seconds / taken,
        "writer": report.writer_wait_seconds / taken,
    }
    return report.views / taken, waits


def _render(prepared: Prepared, tasks: Iterator[Task], seconds: float) -> tuple[float, list[RenderedItem]]:
    """Return views/s of the readers alone, and some of what they read."""
    identity, settings = prepared.writer.manifest.identity, prepared.settings
    reader = ItemReader(settings.data.indexes, identity.policy, num_classes=1000)
    source = _Tasks(tasks, seconds)
    source.more()
    items = (
        item
        for task in source
        for item in prepared.shape.items_of(
            task, seeds_per_group=identity.seeds_per_group, thumbnail_rows=THUMBNAIL_ROWS
        )
    )
    kept: list[RenderedItem] = []
    started, views = time.monotonic(), 0
    for rendered in rendered_items(reader, items, processes=settings.readers):
        views += len(rendered.views_B3HW)
        kept = [*kept[-3:], rendered]
    return views / (time.monotonic() - started), kept


def _teach(prepared: Prepared, kept: list[RenderedItem], seconds: float) -> float:
    """Return views/s of the teacher alone, in the better of two arrangements."""
    teacher, tuning = prepared.teachers[0], prepared.settings.tuning
    batches = [item.views_B3HW.to(teacher.device) for item in kept]

    def forward(number: int) -> int:
        views_B3HW = batches[number % len(batches)]
        teacher_logits(teacher, views_B3HW, batch_size=tuning.batch_size)
        return len(views_B3HW)

    if teacher.device.type == "cuda":
        return _one_after_the_other(forward, seconds, torch.cuda.synchronize)
    cores = tuning.parallel_batches * tuning.teacher_threads
    with computing_threads(cores):
        together = _one_after_the_other(forward, seconds / 2, lambda: None)
    return max(together, _side_by_side(forward, seconds / 2, cores))


def _one_after_the_other(
    forward: Callable[[int], int], seconds: float, synchronize: Callable[[], None]
) -> float:
    for number in range(3):
        forward(number)
    synchronize()
    started, views = time.monotonic(), 0
    for number in itertools.count():
        views += forward(number)
        if time.monotonic() - started > seconds:
            break
    synchronize()
    return views / (time.monotonic() - started)


def _side_by_side(forward: Callable[[int], int], seconds: float, threads: int) -> float:
    deadline = time.monotonic() + seconds

    def work(number: int) -> int:
        views = 0
        while time.monotonic() < deadline:
            views += forward(number)
        return views

    started = time.monotonic()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        views = sum(pool.map(work, range(threads)))
    return views / (time.monotonic() - started)


def rows(
    *,
    short: bool = False,
    device: str = "cpu",
    model: str = "resnet18",
    seconds: float = 0.0,
    repeats: int | None = None,
    size: int = 224,
) -> list[Row]:
    """Return the ratio of the run to its bound."""
    seconds = seconds or (8.0 if short else 24.0)
    repeats = repeats or (2 if short else 3)
    more = {"precision": "bfloat16"} if device != "cpu" else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_shards(folder, 8, 128)
        prepared = _prepared(folder, model, device, size, more)
        tasks = iter(work_of(prepared).pending)
        _, kept = _render(prepared, tasks, 1.0)
        _teach(prepared, kept, 1.0)
        turns = [_turn(prepared, tasks, seconds) for _ in range(repeats)]
    of = "1 / (1 / teacher + 1 / render)" if device == "cpu" else "min(teacher, render)"
    ratios = [turn["run"] / _bound(turn, device) for turn in turns]
    row = median_of(f"stage one with {model} on {device} against {of}", ratios, goal=GOAL, note=_note(turns))
    return [row, _memory(turns)]


def _bound(turn: dict[str, Any], device: str) -> float:
    teacher, render = float(turn["teacher"]), float(turn["render"])
    return 1 / (1 / teacher + 1 / render) if device == "cpu" else min(teacher, render)


def _note(turns: list[dict[str, Any]]) -> str:
    render, teacher, run = (
        statistics.median(turn[part] for turn in turns) for part in ("render", "teacher", "run")
    )
    waits = ", ".join(
        f"{part} {statistics.median(turn['waits'][part] for turn in turns):.0%}" for part in turns[0]["waits"]
    )
    return f"render {render:.1f}, teacher {teacher:.1f}, run {run:.1f} views/s; waited for {waits}"


def _memory(turns: list[dict[str, Any]]) -> Row:
    """Return what the run holds after its last turn, beside the first."""
    after = [turn["megabytes"] for turn in turns]
    note = f"after {len(after)} turns: {', '.join(f'{each:,.0f}' for each in after)} MB"
    return median_of("memory of stage one", after, unit="MB", note=note)


def _turn(prepared: Prepared, tasks: Iterator[Task], seconds: float) -> dict[str, Any]:
    # Before and after the run: a machine that slows down meanwhile slows both sides.
    render, kept = _render(prepared, tasks, seconds / 4)
    teacher = _teach(prepared, kept, seconds / 4)
    run, waits = _run(prepared, tasks, seconds)
    teacher_after = _teach(prepared, kept, seconds / 4)
    render_after, _ = _render(prepared, tasks, seconds / 4)
    return {
        "render": (render + render_after) / 2,
        "teacher": (teacher + teacher_after) / 2,
        "run": run,
        "waits": waits,
        "megabytes": _resident_megabytes(),
    }


def _resident_megabytes() -> float:
    """Return what this process holds now; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    run_alone(
        __doc__, rows, has_device=True, flags={"model": str, "seconds": float, "repeats": int, "size": int}
    )
