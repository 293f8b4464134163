"""The writer thread: it encodes what the teachers said, collects whole units and commits them in order."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from kdcache.errors import InterruptedRunError
from kdcache.precompute.outcome import Outcome, TeacherCounts
from kdcache.precompute.plan import Task
from kdcache.precompute.unit_buffer import UnitBuffer
from kdcache.store.writer import CacheWriter

__all__ = ["Committer"]

_PATIENCE = 3.0
"""Seconds that an interrupted run gives the writer to finish what it has."""
_WAITING = 4
"""Items between the teachers and the writer: enough to smooth out a commit, too few to fill memory."""


class Committer:
    """Takes outcomes in order and commits each task when its last row is there.

    Whatever goes wrong in the thread is raised by the next call here. Leaving the ``with`` block, also by an
    error, lets the thread finish what it was given: whole units are committed, the one in flight is dropped.
    An interrupted run does not wait for a store that hangs.

    Args:
        writer: of the cache.
        on_commit: is told of each task that is committed, in the writer's thread.

    Attributes:
        units: teacher units committed.
        totals: what was counted of each teacher's views.
        device_seconds: how long the thread waited for a device, and
        write_seconds: for the store.
    """

    def __init__(self, writer: CacheWriter, *, on_commit: Callable[[Task], None] | None = None) -> None:
        self.units = 0
        self.totals: dict[str, TeacherCounts] = {}
        self.device_seconds = 0.0
        self.write_seconds = 0.0
        self._on_commit = on_commit
        self._writer = writer
        self._queue: queue.Queue[Outcome | None] = queue.Queue(maxsize=_WAITING)
        self._error: BaseException | None = None
        self._buffer: UnitBuffer | None = None
        self._thread = threading.Thread(target=self._work, name="kdcache-writer", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the thread finish; raise its error unless there is one already."""
        if error is not None and (isinstance(error, InterruptedRunError) or not isinstance(error, Exception)):
            self._leave_soon()
            return
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _leave_soon(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=_PATIENCE)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def flush(self) -> None:
        """Wait until all that was handed over is committed, or dropped."""
        self._queue.join()
        self._raise()

    def put(self, outcome: Outcome) -> None:
        """Hand over one outcome; waits while the thread is behind."""
        self._raise()
        self._queue.put(outcome)

    def top1(self) -> str:
        """Return the running accuracy of each teacher that has seen labels."""
        seen = {name: counts for name, counts in self.totals.items() if counts.labelled}
        parts = [
            f"{f'{name} ' if len(self.totals) > 1 else ''}top-1 {counts.correct / counts.labelled:.1%}"
            for name, counts in seen.items()
        ]
        return ", ".join(parts)

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while (outcome := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._take(outcome)
                except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
                    self._error = error
            self._queue.task_done()

    def _take(self, outcome: Outcome) -> None:
        if self._buffer is None or self._buffer.task != outcome.task:
            self._buffer = UnitBuffer.of(outcome.task, self._writer.manifest.identity)
        self.device_seconds += _waited(outcome)
        self._buffer.add(outcome)
        if self._buffer.is_whole:
            before = time.monotonic()
            self._buffer.commit(self._writer)
            self.write_seconds += time.monotonic() - before
            self.units += len(outcome.task.teachers)
            for name, counts in self._buffer.counts.items():
                self.totals.setdefault(name, TeacherCounts()).add(counts)
            self._buffer = None
            if self._on_commit is not None:
                self._on_commit(outcome.task)


def _waited(outcome: Outcome) -> float:
    before = time.monotonic()
    for cut in outcome.cuts.values():
        cut.wait()
    return time.monotonic() - before
