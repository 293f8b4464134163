"""What one Ray actor does: a worker in a thread of its own, fed by calls that wait until their task is committed."""

import asyncio
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import ConfigError, InterruptedRunError
from kdcache.precompute.plan import Task
from kdcache.precompute.prepare import Prepared, Settings, prepare
from kdcache.precompute.report import PrecomputeReport
from kdcache.precompute.source import Place, Share
from kdcache.precompute.worker import Worker, computing_threads
from kdcache.runtime.interrupt import Interrupts
from kdcache.store.writer import CacheWriter

__all__ = ["Answer", "Calls", "UnitActor", "calls_at_once"]

_BETWEEN_STAGES = 4
"""Items that wait for the writer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an actor says of itself.

    Attributes:
        place: the process and the machine that it lives in.
        calls: how many tasks it should have at once.
        report: what it did so far, since it was last started.
    """

    place: str
    calls: int
    report: PrecomputeReport


class Calls:
    """Tasks that somebody waits for, as the source of a worker."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._new: deque[Task] = deque()
        self._waiting: dict[tuple[int, int], Future[None]] = {}
        self._error: Exception | None = None

    def add(self, task: Task) -> Future[None]:
        """Return what is fulfilled when ``task`` is committed, or fails with the worker."""
        with self._changed:
            call: Future[None] = self._waiting.setdefault(_key(task), Future())
            if self._error is not None:
                call.set_exception(self._error)
            else:
                self._new.append(task)
            self._changed.notify_all()
        return call

    def done(self, task: Task) -> None:
        """Fulfil the call of a task."""
        with self._changed:
            call = self._waiting.pop(_key(task), None)
        if call is not None:
            call.set_result(None)

    def fail(self, error: Exception) -> None:
        """Let every call fail, also those to come."""
        with self._changed:
            self._error = error
            failed = [*self._waiting.values()]
            self._waiting.clear()
        for call in failed:
            call.set_exception(error)

    def left(self, writer: CacheWriter) -> "_Left":
        """Return a source of what nobody has committed yet; Ray repeats calls whose answer was lost."""
        return _Left(self, writer)

    def wait(self) -> None:
        """Wait until there is a task."""
        with self._changed:
            self._changed.wait_for(lambda: self._new)

    def take(self) -> Task | None:
        """Return the next task, if there is one now."""
        with self._changed:
            return self._new.popleft() if self._new else None


def _key(task: Task) -> tuple[int, int]:
    return task.block.index, task.group


class _Left:
    """A ``TaskSource``; the actor is killed when the run is over, so there is always more."""

    def __init__(self, calls: Calls, writer: CacheWriter) -> None:
        self._calls, self._writer = calls, writer

    def more(self) -> bool:
        self._calls.wait()
        return True

    def __iter__(self) -> Iterator[Task]:
        while (task := self._calls.take()) is not None:
            one = Share(
                (task,), Place(), committed=self._writer.committed, is_committed=self._writer.is_committed
            )
            left = list(one)
            if not left:
                self._calls.done(task)
            yield from left


class UnitActor:
    """Does tasks, one call each; Ray makes an actor of it.

    Nothing is done in the constructor, so that what goes wrong is raised by the calls and keeps its class.

    Args:
        config: of this worker.
        grow: as of the run.
        num_samples: the samples that this actor answers for, of which ``max_bad`` may be bad.
        leave: ends the process; Ray starts it again, and repeats its calls.
    """

    def __init__(
        self,
        config: PrecomputeConfig,
        *,
        grow: bool,
        num_samples: int,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._config, self._grow, self._num_samples, self._leave = config, grow, num_samples, leave
        self._place = f"process {os.getpid()} on {socket.gethostname()}"
        self._calls = Calls()
        self._ready: Future[tuple[Worker, int]] = Future()
        threading.Thread(target=self._work, name="kdcache-worker", daemon=True).start()

    async def ready(self) -> Answer:
        """Wait until the teachers are built.

        Raises:
            KdcacheError: what the worker met.
        """
        worker, calls = await asyncio.wrap_future(self._ready)
        return Answer(self._place, calls, worker.report(units_before=0))

    async def do(self, task: Task) -> Answer:
        """Wait until ``task`` is committed, by this call or before it.

        Raises:
            KdcacheError: what the worker met.
        """
        await asyncio.wrap_future(self._calls.add(task))
        return await self.ready()

    def _work(self) -> None:
        try:
            settings = Settings.of(self._config, grow=self._grow)
            self._demand_shared_cache(settings)
            with computing_threads(settings.tuning.teacher_threads):
                prepared = prepare(settings, say=lambda _: None)
                self._run(prepared)
        except InterruptedRunError as error:
            sys.stderr.write(f"{self._place}: {error}\n")
            sys.stderr.flush()
            self._leave(1)
        except Exception as error:  # noqa: BLE001 - raised by every call
            if not self._ready.done():
                self._ready.set_exception(error)
            self._calls.fail(error)

    def _run(self, prepared: Prepared) -> None:
        worker = Worker(
            prepared, num_samples=self._num_samples, advance=lambda _: None, on_commit=self._calls.done
        )
        self._ready.set_result((worker, _calls_of(prepared)))
        worker.run(self._calls.left(prepared.writer), Interrupts(), lambda: "its units are done again")

    def _demand_shared_cache(self, settings: Settings) -> None:
        if settings.existing is None:
            raise ConfigError(
                f"{self._place} finds no cache at {settings.config.cache}, where the run has just made one; "
                "the cache must be on a disk that all nodes of the Ray cluster share, or on s3://"
            )


def _calls_of(prepared: Prepared) -> int:
    writer, settings = prepared.writer, prepared.settings
    group = writer.manifest.identity.seeds_per_group
    items = prepared.shape.items_of(
        Task(writer.layout.blocks[0], 0, ()), seeds_per_group=group, thumbnail_rows=0
    )
    return calls_at_once(sum(1 for _ in items), settings.readers, settings.tuning.parallel_batches)


def calls_at_once(items_per_task: int, readers: int, parallel_batches: int) -> int:
    """Return how many tasks an actor needs at once, so that no reader waits while an answer is on its way.

    Readers work on two items each ahead of the teacher; small tasks hold few.

    >>> calls_at_once(640, 16, 1), calls_at_once(10, 16, 1)
    (2, 5)
    """
    return 2 + (2 * readers + parallel_batches + _BETWEEN_STAGES) // items_per_task
