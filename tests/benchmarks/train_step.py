"""What cached targets cost a training step, and what they save: against labels only, and against a live teacher.

Run ``python -m tests.benchmarks.train_step [--short] [--json] [--device cuda] [--plot bars.png]``. Photographs in real
shards, a real cache (K = 50 of 1,000 classes) of their ``rrc`` views, networks with random weights. On a CPU one
process loads, renders and trains on one thread, and its CPU seconds are counted, so that other work on the machine
disturbs little; with ``--device cuda`` loader processes feed the accelerator, and the wall's seconds count. ``--plot``
also writes bars of images/s (it needs matplotlib).

- step: ``kdcache train``'s own loop from loader to optimiser, with cached targets (label loss and ``kl``) against
  labels only, on the same views.
- live teacher: the same views and student under timm's ``LogitDistillationTask``. The ideal is what is saved if targets
  cost nothing: (labels-only step + bare teacher forward) / labels-only step.
- share: finding a sample's targets and digests, the epoch's plan and the view's random words, within the real calls.
- loader: two processes that render, with targets and without.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from kdcache.data.loader import DistillLoader, distill_loader
from kdcache.runtime.device import resolve_device
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.step_data import StepData, home_in, make_data
from tests.benchmarks.step_share import SampleCost, sample_costs
from tests.benchmarks.step_sides import Case, StepSeconds, step_seconds

__all__ = ["STEP_GOAL", "loader_rows", "main", "rows", "share_rows", "step_rows"]

STEP_GOAL, LIVE_GOAL, SHARE_GOAL = 0.98, 0.95, 0.005
_ON_CPU = (("resnet18", "deit_tiny_patch16_224"), ("resnet50", "deit_tiny_patch16_224"))
_ON_DEVICE = tuple(
    (teacher, student)
    for student in ("deit_small_distilled_patch16_224", "vit_base_patch16_224")
    for teacher in ("resnet50", "regnety_160")
)
_BATCHES_OF_A_WORKER = 4
_LOADER_PROCESSES = 2

Rates = dict[str, float]


def rows(*, short: bool = False, device: str = "cpu", plot: Path | None = None) -> list[Row]:
    """Measure everything; ``plot`` is where to draw the images/s of the first case's sides."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name, home_in(Path(name)):
        try:
            torch.set_num_threads(1)
            found, bars = _all_rows(Path(name), resolve_device(device), short=short)
        finally:
            torch.set_num_threads(threads)
    if plot is not None:
        draw_bars(bars, plot)
    return found


def _all_rows(folder: Path, device: torch.device, *, short: bool) -> tuple[list[Row], dict[str, Rates]]:
    passes = 4 if short else 15
    data = make_data(folder / "many", [256 if short else 1024], views=passes + 1)
    costs = sample_costs(data, passes=passes)
    found = [*share_rows(costs), *loader_rows(data, repeats=passes)]
    bars: dict[str, Rates] = {}
    cases = cases_on(device, short=short)
    few = make_data(folder / "few", _samples_of_a_turn(cases[0]), views=2 if device.type == "cuda" else 16)
    for number, case in enumerate(cases):
        seconds = step_seconds(case, few, folder / str(number), repeats=5 if short else 15)
        found += step_rows(case, seconds, costs)
        bars[case.name] = _rates(seconds)
    return found, bars


def cases_on(device: torch.device, *, short: bool) -> list[Case]:
    """Return what is measured on a device; where loaders feed it from other cores, also without them."""
    if device.type == "cpu":
        return [Case(*pair, batch_size=16) for pair in _ON_CPU[: 1 if short else 2]]
    pairs = _ON_DEVICE[: 1 if short else 4]
    return [
        Case(*pair, batch_size=128, device=device, source=source)
        for pair in pairs
        for source in ("memory", "loader")
    ]


def _samples_of_a_turn(case: Case) -> list[int]:
    """Return the samples of each shard: one step on a CPU, else a few batches of each loader process."""
    if case.on_cpu:
        return [case.batch_size]
    return [case.batch_size * _BATCHES_OF_A_WORKER] * case.workers


def step_rows(case: Case, seconds: StepSeconds, costs: Sequence[SampleCost]) -> list[Row]:
    """Return the step with cached targets against the two others, and what holds it up."""
    turns = list(zip(seconds.labels, seconds.cached, seconds.live, seconds.teacher, strict=True))
    rates = _rates(seconds)
    ideal = statistics.median((labels + teacher) / labels for labels, _, _, teacher in turns)
    speed_up = statistics.median(live / cached for _, cached, live, _ in turns)
    return [
        median_of(
            f"step with cached targets against labels only ({case.name})",
            [labels / cached for labels, cached, _, _ in turns],
            goal=STEP_GOAL,
            note=f"{rates['cached targets']:.1f} and {rates['labels only']:.1f} images/s; "
            + _parts(case, seconds, costs),
        ),
        median_of(
            f"speed-up over the live teacher against the ideal ({case.name})",
            [(live / cached) / ((labels + teacher) / labels) for labels, cached, live, teacher in turns],
            goal=LIVE_GOAL,
            note=f"{speed_up:.2f}x of {ideal:.2f}x; live {rates['live teacher']:.1f} images/s, "
            f"teacher alone {rates['teacher alone']:.1f}",
        ),
    ]


def _rates(seconds: StepSeconds) -> Rates:
    sides = {
        "labels only": seconds.labels,
        "cached targets": seconds.cached,
        "live teacher": seconds.live,
        "teacher alone": seconds.teacher,
    }
    return {name: seconds.images / statistics.median(turns) for name, turns in sides.items()}


def _parts(case: Case, seconds: StepSeconds, costs: Sequence[SampleCost]) -> str:
    """Return the images/s of each part alone, and the bottleneck: the slowest of loader, link and device."""
    processes = max(1, case.workers)
    parts = {
        "decode": statistics.median(cost.decode for cost in costs) / processes,
        "render": statistics.median(cost.render for cost in costs) / processes,
        "link": seconds.link,
        "device": seconds.device,
    }
    loader = {"decode": parts.pop("decode"), "render": parts.pop("render")}
    slowest = max(parts, key=parts.__getitem__)
    if case.source == "loader" and sum(loader.values()) > parts[slowest]:
        slowest = max(loader, key=loader.__getitem__)
    alone = ", ".join(f"{name} {1 / part:,.0f}" for name, part in (loader | parts).items() if part)
    return f"bottleneck {slowest} (alone: {alone})"


def share_rows(costs: Sequence[SampleCost]) -> list[Row]:
    """Return the share of lookup and seeding."""
    micro = {
        name: 1e6 * statistics.median(getattr(cost, name) for cost in costs)
        for name in ("lookup", "seeding", "decode", "render", "shard")
    }
    return [
        median_of(
            "lookup and seeding of a sample, of its decode and render",
            [cost.share for cost in costs],
            goal=SHARE_GOAL,
            at_least=False,
            note=f"lookup {micro['lookup']:.1f} and seeding {micro['seeding']:.1f} us; decode {micro['decode']:,.0f}, "
            f"render {micro['render']:,.0f}, reading the shard {micro['shard']:.0f} us",
        )
    ]


def loader_rows(data: StepData, *, repeats: int, processes: int = _LOADER_PROCESSES) -> list[Row]:
    """Return the images/s of loader processes with cached targets, against labels only."""

    def side(*, with_targets: bool) -> DistillLoader:
        return distill_loader(
            data.shards, cache=data.cache, batch_size=32, num_workers=processes, with_targets=with_targets
        )

    loaders = [side(with_targets=False), side(with_targets=True)]
    labels, cached = in_turns(
        [partial(_pass, loader) for loader in loaders], repeats, clock=time.perf_counter
    )
    images = loaders[0].num_batches * 32
    rates = [images / statistics.median(seconds) for seconds in (cached, labels)]
    return [
        median_of(
            f"loader of {processes} processes with cached targets against labels only",
            [one / other for one, other in zip(labels, cached, strict=True)],
            note=f"{rates[0]:,.0f} and {rates[1]:,.0f} images/s on the wall",
        )
    ]


def _pass(loader: DistillLoader, epoch: int) -> None:
    for _ in loader.epoch(epoch):
        pass


def draw_bars(bars: dict[str, Rates], path: Path) -> None:
    """Draw the images/s of each case's sides that train."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.0 + 1.2 * len(bars)), layout="constrained")
    axes = figure.subplots()
    sides = ("labels only", "cached targets", "live teacher")
    for place, side in enumerate(sides):
        heights = [rates[side] for rates in bars.values()]
        found = axes.barh(
            [case + 0.27 * place for case in range(len(bars))], heights, height=0.25, label=side
        )
        axes.bar_label(found, fmt="%.3g", padding=2)
    axes.set_yticks([case + 0.27 for case in range(len(bars))], list(bars))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("images/s of a training step")
    figure.legend(loc="outside upper center", ncols=len(sides))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table; ``--plot`` draws bars, too."""
    run_alone(__doc__, rows, has_device=True, flags={"plot": Path})


if __name__ == "__main__":
    main()
