"""One worker: readers, teachers and a writer thread, fed with tasks from a source."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.commit import Committer
from kdcache.precompute.loop import Clock, Loop
from kdcache.precompute.outcome import TeacherCounts
from kdcache.precompute.panel import Panel
from kdcache.precompute.plan import Task
from kdcache.precompute.prepare import Prepared
from kdcache.precompute.report import PrecomputeReport, TeacherResult
from kdcache.precompute.source import TaskSource
from kdcache.runtime.interrupt import Interrupts

__all__ = ["Worker", "computing_threads"]


class Worker:
    """Does tasks until its source has none left.

    Args:
        prepared: the run.
        num_samples: the samples that this worker answers for, of which ``max_bad`` may be bad.
        advance: is told how many views were seen.
        on_commit: is told of each committed task.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        num_samples: int,
        advance: Callable[[int], None],
        on_commit: Callable[[Task], None] | None = None,
    ) -> None:
        settings = prepared.settings
        identity = prepared.writer.manifest.identity
        self._prepared = prepared
        self._bad = BadSamples(
            on_bad_sample=settings.config.on_bad_sample,
            max_bad=settings.config.max_bad,
            num_samples=num_samples,
        )
        self.committer = Committer(prepared.writer, on_commit=on_commit)
        self._loop = Loop(
            identity=identity,
            panel=Panel(prepared.teachers, identity.teachers, settings.tuning),
            shape=prepared.shape,
            indexes=settings.data.indexes,
            readers=settings.readers,
            bad=self._bad,
            advance=advance,
        )
        self._started = time.monotonic()

    def run(self, source: TaskSource, interrupts: Interrupts, standing: Callable[[], str]) -> None:
        """Work until the source says that everything is done.

        Raises:
            InterruptedRunError: a signal came, or a reader was lost.
        """
        with self.committer as committer:
            self._loop.run(source, committer, interrupts, standing)

    def report(self, *, units_before: int) -> PrecomputeReport:
        """Say what this worker did."""
        return PrecomputeReport(
            cache=self._prepared.settings.config.cache,
            units=self.committer.units,
            units_before=units_before,
            views=self._clock.views,
            bad_samples=dict(self._bad.counts),
            teachers={teacher.name: self._result(teacher.name) for teacher in self._prepared.teachers},
            seconds=time.monotonic() - self._started,
            reader_wait_seconds=self._clock.reader_wait,
            teacher_wait_seconds=self._clock.teacher_wait + self.committer.device_seconds,
            writer_wait_seconds=max(0.0, self._clock.writer_wait - self.committer.device_seconds),
        )

    @property
    def _clock(self) -> Clock:
        return self._loop.clock

    def _result(self, name: str) -> TeacherResult:
        entry = self._prepared.writer.manifest.identity.teachers[name]
        counts = self.committer.totals.get(name, TeacherCounts())
        return TeacherResult(entry.encoding, entry.top_k, counts.labelled, counts.correct)


@contextlib.contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Compute with so many threads: sums depend on how many share them, so it is part of what repeats."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
