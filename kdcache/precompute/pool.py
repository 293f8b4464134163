"""Several workers on one machine: this process hands out tasks, one at a time, and takes back what is lost."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from kdcache import errors
from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import InterruptedRunError, KdcacheError, StoreError
from kdcache.precompute.plan import Plan, Task
from kdcache.precompute.prepare import Prepared, Settings, prepare
from kdcache.precompute.report import PrecomputeReport, merged
from kdcache.precompute.worker import Worker, computing_threads
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress

__all__ = ["run_pool", "worker_config"]

_CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
"""All workers are forks of one process that has done their imports, 7 CPU seconds each, and nothing else."""
_POLL_SECONDS = 0.2
_LEAVE_SECONDS = 9.0
"""Workers that got a signal have this long to commit or drop what they have."""


def worker_config(settings: Settings, device: str) -> PrecomputeConfig:
    """Return the settings of one worker: what was settled is not settled again."""
    return settings.config.model_copy(
        update={
            "workers": None,
            "devices": (),
            "engine": "local",
            "device": device,
            "readers": settings.readers,
            "batch_size": settings.tuning.batch_size,
            "teacher_threads": settings.tuning.teacher_threads,
            "parallel_batches": settings.tuning.parallel_batches,
        }
    )


def run_pool(
    prepared: Prepared,
    work: Plan,
    interrupts: Interrupts,
    progress: Progress,
    standing: Callable[[int], str],
) -> PrecomputeReport:
    """Run the workers of this machine until everything is committed.

    Raises:
        InterruptedRunError: a signal came, or every worker died.
        KdcacheError: what a worker met.
    """
    config = prepared.settings.config
    devices = config.devices or (config.device,)
    pool = _Pool(prepared, work, progress)
    try:
        for number in range(config.num_workers):
            device = devices[number % len(devices)]
            pool.start(worker_config(prepared.settings, device), number)
        pool.serve(interrupts, standing)
    finally:
        pool.close()
    report = merged(pool.reports, cache=config.cache, units_before=work.num_done)
    return replace(report, units=pool.units)  # also those of workers that died later


@dataclass(eq=False)
class _Member:
    """A worker as this process sees it."""

    number: int
    process: BaseProcess
    connection: Connection
    tasks: list[Task] = field(default_factory=list)
    is_waiting: bool = False


class _Pool:
    def __init__(self, prepared: Prepared, work: Plan, progress: Progress) -> None:
        self.reports: list[PrecomputeReport] = []
        self._writer = prepared.writer
        self._progress = progress
        self._pending = deque(work.pending)
        self._members: list[_Member] = []
        settings = prepared.settings
        num_samples = sum(len(index) for index in settings.data.given)
        self._num_samples = -(-num_samples // settings.config.num_workers)
        self._grow = settings.grow
        self.units = 0

    def start(self, config: PrecomputeConfig, number: int) -> None:
        """Start one worker."""
        start_method = multiprocessing.get_start_method()
        order = _Order(number, config, self._grow, self._num_samples, dict(os.environ), start_method)
        _CONTEXT.set_forkserver_preload([__name__])
        here, there = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_work, args=(order, there), name=f"kdcache-worker-{number}")
        process.start()
        there.close()
        self._members.append(_Member(number, process, here))

    def serve(self, interrupts: Interrupts, standing: Callable[[int], str]) -> None:
        """Answer the workers until the last one has left."""
        while self._members:
            if interrupts.requested:
                self._dismiss()
                interrupts.raise_if_requested(standing(self.units))
            for ready in wait([member.connection for member in self._members], timeout=_POLL_SECONDS):
                self._hear(next(member for member in self._members if member.connection is ready))
            self._wake()
        if self._pending:
            raise InterruptedRunError(f"every worker died; {standing(self.units)}")

    def close(self) -> None:
        """End whoever is left."""
        for member in self._members:
            member.process.kill()
            member.process.join()

    def _hear(self, member: _Member) -> None:
        try:
            kind, value = member.connection.recv()
        except (EOFError, OSError):
            self._lose(member)
            return
        getattr(self, f"_on_{kind}")(member, value)

    def _on_next(self, member: _Member, _: None) -> None:
        task = self._pending.popleft() if self._pending else None
        if task is not None:
            member.tasks.append(task)
        self._answer(member, task)

    def _on_wait(self, member: _Member, _: None) -> None:
        member.is_waiting = True

    def _on_views(self, _: _Member, count: int) -> None:
        self._progress.advance(count)

    def _on_done(self, member: _Member, task: Task) -> None:
        member.tasks.remove(task)
        self.units += len(task.teachers)

    def _on_report(self, member: _Member, report: PrecomputeReport) -> None:
        self.reports.append(report)
        self._end(member)

    def _on_error(self, member: _Member, what: tuple[str, str]) -> None:
        self._end(member)
        self._dismiss()
        name, message = what
        raise getattr(errors, name, StoreError)(message)

    def _on_crash(self, member: _Member, trace: str) -> None:
        self._end(member)
        self._dismiss()
        raise RuntimeError(f"worker {member.number} failed:\n{trace}")

    def _lose(self, member: _Member) -> None:
        self._end(member)
        self._pending.extendleft(reversed(member.tasks))
        number = -(member.process.exitcode or 0)
        cause = signal.Signals(number).name if number > 0 else f"exit code {-number}"
        self._progress.say(
            f"worker {member.number} (process {member.process.pid}) died of {cause}; the others take its "
            f"{len(member.tasks)} units in flight"
        )

    def _end(self, member: _Member) -> None:
        self._members.remove(member)
        member.process.join(_LEAVE_SECONDS)
        if member.process.exitcode is None:
            member.process.kill()
            member.process.join()

    def _wake(self) -> None:
        """Tell waiting workers of tasks that came back, or that all is done."""
        in_flight = any(member.tasks for member in self._members)
        for member in [member for member in self._members if member.is_waiting]:
            if self._pending or not in_flight:
                member.is_waiting = False
                self._answer(member, bool(self._pending))

    def _answer(self, member: _Member, value: Any) -> None:
        with contextlib.suppress(OSError):  # it died: its end of the pipe says so
            member.connection.send(value)

    def _dismiss(self) -> None:
        """Ask all workers to leave; whole units are committed, others dropped."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        for member in self._members:
            with contextlib.suppress(OSError, ValueError):
                os.kill(member.process.pid or 0, signal.SIGTERM)
        while self._members and time.monotonic() < deadline:
            for ready in wait([member.connection for member in self._members], timeout=_POLL_SECONDS):
                member = next(one for one in self._members if one.connection is ready)
                try:
                    kind, value = member.connection.recv()
                except (EOFError, OSError):
                    self._end(member)
                    continue
                if kind == "done":
                    self._on_done(member, value)


class _PipeSource:
    """The worker's end: asks for tasks one at a time."""

    def __init__(self, connection: Connection, interrupts: Interrupts) -> None:
        self._connection, self._interrupts = connection, interrupts
        self._lock = threading.Lock()

    def more(self) -> bool:
        """Wait until there is a task, or none will come."""
        return bool(self._ask("wait"))

    def __iter__(self) -> Iterator[Task]:
        """Yield tasks until there is none for now."""
        while (task := self._ask("next")) is not None:
            yield task

    def tell(self, kind: str, value: Any = None) -> None:
        """Send a message; the writer's thread does, too."""
        with self._lock:
            self._connection.send((kind, value))

    def _ask(self, kind: str) -> Any:
        self.tell(kind)
        while not self._connection.poll(_POLL_SECONDS):
            self._interrupts.raise_if_requested("the run was stopped")
        try:
            return self._connection.recv()
        except EOFError as error:
            raise InterruptedRunError("the main process is gone") from error


@dataclass(frozen=True)
class _Order:
    """What a worker is to do.

    Attributes:
        environment: of this process; the one that workers are forked from has that of its own start.
        start_method: of readers, as without workers; else they would outlive a worker that is killed.
    """

    number: int
    config: PrecomputeConfig
    grow: bool
    num_samples: int
    environment: dict[str, str] = field(repr=False)
    start_method: str


def _work(order: _Order, connection: Connection) -> None:
    """Be a worker."""
    os.environ.update(order.environment)
    multiprocessing.set_start_method(order.start_method, force=True)
    interrupts = Interrupts(patience=_LEAVE_SECONDS / 2)
    source = _PipeSource(connection, interrupts)
    try:
        with interrupts:
            _serve(order, source, interrupts)
    except InterruptedRunError as error:
        # A signal to the main process: it knows. A lost reader: the main process hands the tasks on.
        if not interrupts.requested:
            os.write(2, f"worker {order.number}: {error}\n".encode())
        os._exit(5)
    except KdcacheError as error:
        source.tell("error", (type(error).__name__, str(error)))
    except Exception:  # noqa: BLE001 - told whole to the main process
        source.tell("crash", traceback.format_exc())


def _serve(order: _Order, source: _PipeSource, interrupts: Interrupts) -> None:
    with interrupts.anywhere(lambda: "no unit was begun"):
        settings = Settings.of(order.config, grow=order.grow)
        with computing_threads(settings.tuning.teacher_threads):
            prepared = prepare(settings, say=lambda _: None)
    worker = Worker(
        prepared,
        num_samples=order.num_samples,
        advance=lambda count: source.tell("views", count),
        on_commit=lambda task: source.tell("done", task),
    )
    with computing_threads(settings.tuning.teacher_threads):
        worker.run(source, interrupts, lambda: "the run was stopped")
    source.tell("report", worker.report(units_before=0))
