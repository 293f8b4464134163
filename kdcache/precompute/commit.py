"""The writer thread: it encodes what the teachers said, collects whole units and commits them in order."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import InterruptedRunError, TeacherError
from kdcache.logits import TopKLogits
from kdcache.precompute.cut import DeviceCut
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem
from kdcache.store.encoding import count_saturated, empty_planes, encode
from kdcache.store.layout import THUMBNAIL_ROWS
from kdcache.store.manifest import Identity, TeacherIdentity
from kdcache.store.tables import SampleTable
from kdcache.store.writer import CacheWriter

__all__ = ["Committer", "Outcome", "TeacherCounts"]

_PATIENCE = 3.0
"""Seconds that an interrupted run gives the writer to finish what it has."""
_WAITING = 4
"""Items between the teachers and the writer: enough to smooth out a commit, too few to fill memory."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item with its views dropped and its cuts, possibly still on their way from the device."""

    task: Task
    rendered: RenderedItem
    cuts: Mapping[str, DeviceCut]
    seconds: Mapping[str, float]


@dataclass(slots=True)
class TeacherCounts:
    """What is counted of one teacher's views."""

    labelled: int = 0
    correct: int = 0
    saturated: int = 0
    seconds: float = 0.0

    def add(self, other: "TeacherCounts") -> None:
        """Add the counts of another unit."""
        self.labelled += other.labelled
        self.correct += other.correct
        self.saturated += other.saturated
        self.seconds += other.seconds


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
        self._buffer: _UnitBuffer | None = None
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
            self._buffer = _UnitBuffer.of(outcome.task, self._writer.manifest.identity)
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


@dataclass(slots=True)
class _UnitBuffer:
    """The rows of one task so far."""

    task: Task
    shard_name: str
    identities: Mapping[str, TeacherIdentity]
    digests_GR: NDArray[np.uint32]
    thumbnails: NDArray[np.uint8]
    planes: Mapping[str, NDArray[Any]]
    counts: Mapping[str, TeacherCounts]
    tables: list[SampleTable] = field(default_factory=list)
    num_views: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, task: Task, identity: Identity) -> Self:
        """Start a unit: everything is a bad sample until it is said to be good."""
        shape = (identity.seeds_per_group, identity.rows_per_block)
        identities = {name: identity.teachers[name] for name in task.teachers}
        return cls(
            task=task,
            shard_name=identity.shards[task.block.shard].name,
            identities=identities,
            digests_GR=np.zeros(shape, dtype=np.uint32),
            thumbnails=np.zeros((shape[0], THUMBNAIL_ROWS, 8, 8, 3), dtype=np.uint8),
            planes={
                name: empty_planes(
                    shape, encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes
                )
                for name, entry in identities.items()
            },
            counts={name: TeacherCounts() for name in identities},
        )

    @property
    def is_whole(self) -> bool:
        """True when every view of the block is there."""
        return self.num_views == self.task.block.num_rows * len(self.digests_GR)

    def add(self, outcome: Outcome) -> None:
        """Add the views of one item; its samples follow those before it, or are the same under other seeds."""
        rendered, first = outcome.rendered, outcome.rendered.item.samples[0] - self.task.block.first
        first_seed = rendered.item.aug_seeds[0] - self.task.group * len(self.digests_GR)
        seeds = slice(first_seed, first_seed + len(rendered.item.aug_seeds))
        self.digests_GR[seeds, first : first + len(rendered.table)] = rendered.digests_GN
        self.thumbnails[seeds, first : first + rendered.thumbnails.shape[1]] = rendered.thumbnails
        for name, cut in outcome.cuts.items():
            self._add_cut(name, cut.to_numpy(), rendered, first=first, first_seed=first_seed)
            self.counts[name].seconds += outcome.seconds[name]
        if first_seed == 0:
            self.tables.append(rendered.table)
        self.num_views += rendered.digests_GN.size
        self.seconds += rendered.seconds

    def _add_cut(
        self, name: str, cut: TopKLogits, rendered: RenderedItem, *, first: int, first_seed: int
    ) -> None:
        entry, num_seeds = self.identities[name], len(rendered.item.aug_seeds)
        is_ok_B = np.repeat(rendered.table.ok_N, num_seeds)
        if not is_ok_B.any():
            return
        bad_B = np.flatnonzero(is_ok_B & ~np.isfinite(cut.top1_N))
        if len(bad_B):
            raise TeacherError(self._no_logits(name, rendered, bad_B))
        good = cut.take(is_ok_B)
        rows_B, seeds_B = np.divmod(np.flatnonzero(is_ok_B), num_seeds)
        planes_PB = encode(good, encoding=entry.encoding, top_k=entry.top_k)
        self.planes[name][first_seed + seeds_B, :, first + rows_B] = planes_PB.T
        labels_B = rendered.labels_NG.reshape(-1)[is_ok_B]
        counts = self.counts[name]
        counts.labelled += int((labels_B >= 0).sum())
        counts.correct += int((_best_class(good) == labels_B).sum())
        counts.saturated += count_saturated(good) if entry.encoding == "gap8" else 0

    def _no_logits(self, name: str, rendered: RenderedItem, bad_B: NDArray[np.intp]) -> str:
        # NaN and +inf show in the top-1, and so does a row of -inf alone.
        row, seed = divmod(int(bad_B[0]), len(rendered.item.aug_seeds))
        return (
            f"teacher {name!r} returned NaN, +inf or no finite logit for sample {rendered.table.keys[row]!r} of "
            f"shard {self.shard_name} under aug_seed {rendered.item.aug_seeds[seed]} ({len(bad_B)} views of this "
            "batch); nothing of this unit was written, what was committed before stays. float16 overflows: try "
            "--precision bfloat16 or float32; else look at the weights and the normalisation"
        )

    def commit(self, writer: CacheWriter) -> None:
        """Commit samples, views and targets, in this order; what is there already must be the same."""
        block, group = self.task.block.index, self.task.group
        table = _joined(self.tables)
        writer.write_samples(block, table, seconds=0.0)
        writer.write_views(block, group, self.digests_GR, self.thumbnails, seconds=self.seconds)
        failures = {reason: n * len(self.digests_GR) for reason, n in table.failures().items()}
        for name, counts in self.counts.items():
            writer.write_targets(
                name,
                block,
                group,
                self.planes[name],
                labelled=counts.labelled,
                correct=counts.correct,
                saturated=counts.saturated,
                failures=failures,
                seconds=counts.seconds,
            )


def _joined(tables: Sequence[SampleTable]) -> SampleTable:
    return SampleTable(
        keys=tuple(key for table in tables for key in table.keys),
        labels=np.concatenate([table.labels for table in tables]),
        digests=np.concatenate([table.digests for table in tables]),
        status=np.concatenate([table.status for table in tables]),
    )


def _best_class(cut: TopKLogits) -> NDArray[Any]:
    if cut.class_ids_NK is None:
        return np.asarray(np.argmax(cut.logits_NK, axis=1))
    return cut.class_ids_NK[:, 0]
