"""The sides of a training step: labels only, cached targets, a live teacher by timm's task, and the teacher alone."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.task import LogitDistillationTask
from torch import Tensor, nn

from kdcache.config.train import TrainConfig
from kdcache.data.batch import DistillBatch
from kdcache.data.loader import distill_loader
from kdcache.runtime.device import autocast, available_cores
from kdcache.runtime.dist import World
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress
from kdcache.store.reader import open_cache
from kdcache.train import loop
from kdcache.train.assembly import assemble
from kdcache.train.plan import Position
from kdcache.train.session import Session
from kdcache.train.setup import prepare
from kdcache.train.step import take_step
from tests.benchmarks.rows import in_turns
from tests.benchmarks.step_data import StepData

__all__ = ["Case", "StepSeconds", "step_seconds"]

LABELS: dict[str, Any] = {"task_loss_weight": 1.0, "distill_loss_weight": 0.0}
BOTH: dict[str, Any] = {"task_loss_weight": 0.5, "distill_loss_weight": 0.5}
_RESIDENT = 4
"""So many batches go round where they come from memory."""


@dataclass(frozen=True)
class Case:
    """Who learns from whom, where and how.

    Attributes:
        source: batches come from the loader, or lie in memory (page-locked, where there is an accelerator).
        kwargs: of the student, for smaller ones.
    """

    teacher: str
    student: str
    batch_size: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    source: Literal["loader", "memory"] = "loader"
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def on_cpu(self) -> bool:
        """Whether loader and networks share the cores: then one process does all, and CPU time is measured."""
        return self.device.type == "cpu"

    @property
    def workers(self) -> int:
        """Loader processes."""
        return 0 if self.on_cpu else max(1, available_cores() - 1)

    @property
    def name(self) -> str:
        """Who learns from whom, for a line."""
        place = "" if self.source == "loader" else ", batches in memory"
        return f"{self.teacher} to {self.student}, {self.batch_size} views{place}"


@dataclass(frozen=True)
class StepSeconds:
    """What the sides took.

    Attributes:
        labels: seconds of ``images`` views in each turn; so ``cached``, ``live`` and ``teacher``.
        link: seconds of one view on its way to the device.
        device: seconds of one view in a labels-only step whose views lie on the device.
    """

    labels: list[float]
    cached: list[float]
    live: list[float]
    teacher: list[float]
    images: int
    link: float
    device: float


class _Watch:
    """Adds up the seconds of ``with`` blocks: CPU seconds on a CPU, else those on the wall."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device
        self._clock = time.process_time if device.type == "cpu" else time.perf_counter

    @contextmanager
    def running(self) -> Iterator[None]:
        self._wait()
        started = self._clock()
        yield
        self._wait()
        self.seconds += self._clock() - started

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _InMemory:
    """A loader whose batches are there already."""

    def __init__(self, batches: Sequence[DistillBatch], num_batches: int) -> None:
        self._batches, self.num_batches = batches, num_batches

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[DistillBatch]:
        del epoch
        return itertools.islice(itertools.cycle(self._batches), start, self.num_batches)


class _Sides:
    def __init__(self, case: Case, data: StepData, folder: Path) -> None:
        self.case, self.data, self.watch = case, data, _Watch(case.device)
        self.labels = self._session(folder / "labels", LABELS)
        self.cached = self._session(folder / "cached", BOTH)
        self.alone = self._session(folder / "live", LABELS)  # its parts serve the live teacher's loop
        self.teacher = self._teacher()
        self.task = LogitDistillationTask(
            self.alone.model,
            self.teacher,
            nn.CrossEntropyLoss(),
            verbose=False,
            device=case.device,
            **BOTH,
        )
        self.task.train()
        # Workers begin an epoch at the same time: the first batch of each comes late, and is not counted.
        self.warm = min(case.workers, self.labels.loader.num_batches // 2)
        self.num_steps = self.labels.loader.num_batches - self.warm
        loader = distill_loader(data.shards, cache=data.cache, batch_size=case.batch_size)
        batches = list(itertools.islice(loader.epoch(0), _RESIDENT))
        self.resident = [batch.pin_memory() for batch in batches] if not case.on_cpu else batches
        if case.source == "memory":
            for session in (self.labels, self.cached, self.alone):
                session.loader = _InMemory(self.resident, session.loader.num_batches)  # type: ignore[assignment]

    def _session(self, folder: Path, losses: dict[str, Any]) -> Session:
        folder.mkdir(parents=True)
        case = self.case
        settings = {
            "shards": self.data.shards,
            "cache": str(self.data.cache),
            "out": str(folder),
            "student": case.student,
            "student_kwargs": case.kwargs,
            "batch_size": case.batch_size,
            "steps": 1_000_000,
            "workers": case.workers,
            "device": str(case.device),
            "amp": not case.on_cpu,
            "log_interval": 1_000_000,
            "quiet": True,
        }
        config = TrainConfig.parse(settings | losses, where="benchmark")
        parts = prepare(config, open_cache(config.cache), world=World(), pin_memory=not case.on_cpu)
        progress = make_progress("train", total=1, unit="steps", quiet=True)
        return assemble(parts, world=World(), device=case.device, interrupts=Interrupts(), progress=progress)

    def _teacher(self) -> nn.Module:
        """On an accelerator in the precision and the layout of memory that suit it best."""
        teacher = (
            timm.create_model(self.case.teacher, num_classes=self.data.num_classes)
            .eval()
            .requires_grad_(False)
        )
        if self.case.on_cpu:
            return teacher
        return teacher.to(self.case.device, torch.bfloat16).to(memory_format=torch.channels_last)

    def by_kdcache(self, session: Session) -> Callable[[int], None]:
        """Return the turn that is an epoch of ``kdcache train``."""

        def turn(number: int) -> None:
            session.position = Position(number, 0, session.position.step)
            steps = loop._epoch(session)
            self._timed(steps)

        return turn

    def live(self, number: int) -> None:
        """Be the same epoch with the teacher in the step: the loop of timm's own script."""
        self._timed(map(self._live_step, self.alone.loader.epoch(number)))

    def _live_step(self, batch: DistillBatch) -> None:
        session = self.alone
        images_B3HW, labels_B = self._on_device(batch)
        with self._autocast():
            loss = self.task(session.preprocess(images_B3HW), labels_B)["loss"]
        loss.backward()
        session.optimizer.step()
        session.optimizer.zero_grad()

    def teach(self, _: int) -> None:
        """Be the teacher's forward pass over as many views, which lie on the device."""
        images = [self.alone.preprocess(self._on_device(batch)[0]) for batch in self.resident]
        if not self.case.on_cpu:
            images = [views.to(torch.bfloat16, memory_format=torch.channels_last) for views in images]
        with torch.no_grad(), self.watch.running():
            for views_B3HW in itertools.islice(itertools.cycle(images), self.num_steps):
                self.teacher(views_B3HW)

    def parts(self) -> tuple[float, float]:
        """Return the seconds of one view on the link to the device, and in a step that has it there already."""
        watch, views = _Watch(self.case.device), self.case.batch_size * len(self.resident)
        with watch.running():
            batches = [batch.to(self.case.device, non_blocking=True) for batch in self.resident]
        link = 0.0 if self.case.on_cpu else watch.seconds / views
        seconds = []
        for batch in batches:
            watch.seconds = 0.0
            with watch.running():
                take_step(self.labels, [batch])
            seconds.append(watch.seconds / self.case.batch_size)
        return link, statistics.median(seconds)

    def _on_device(self, batch: DistillBatch) -> tuple[Tensor, Tensor]:
        device = self.case.device
        return batch.images_B3HW.to(device, non_blocking=True), batch.labels_B.to(device, non_blocking=True)

    def _autocast(self) -> Any:
        return autocast(self.case.device, "float32" if self.case.on_cpu else "bfloat16")

    def _timed(self, steps: Iterator[Any]) -> None:
        for _ in itertools.islice(steps, self.warm):
            pass
        with self.watch.running():
            for _ in steps:
                pass


def step_seconds(case: Case, data: StepData, folder: Path, *, repeats: int) -> StepSeconds:
    """Let the sides take turns, an epoch each, and return what they took."""
    sides = _Sides(case, data, folder)
    turns = [sides.by_kdcache(sides.labels), sides.by_kdcache(sides.cached), sides.live, sides.teach]
    labels, cached, live, teacher = in_turns(turns, repeats, clock=lambda: sides.watch.seconds)
    link, device = sides.parts()
    images = sides.num_steps * case.batch_size
    return StepSeconds(labels, cached, live, teacher, images=images, link=link, device=device)
