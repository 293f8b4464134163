"""The main loop: reader processes -> teachers -> writer thread."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kdcache.data.index import ShardIndex
from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.commit import Committer
from kdcache.precompute.panel import Panel
from kdcache.precompute.plan import Item, ItemShape, Task
from kdcache.precompute.reader import ItemReader, RenderedItem, lost_readers_explained, rendered_items
from kdcache.precompute.source import TaskSource
from kdcache.runtime.interrupt import Interrupts
from kdcache.store.layout import THUMBNAIL_ROWS
from kdcache.store.manifest import Identity

__all__ = ["Clock", "Loop"]

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Clock:
    """Where the time of the main loop goes, in seconds, and what it has seen."""

    reader_wait: float = 0.0
    teacher_wait: float = 0.0
    writer_wait: float = 0.0
    views: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """What stays the same over the tasks of a run.

    Attributes:
        indexes: of the shards, by position in the manifest; None for one that was not given.
        readers: reader processes; 0 reads here.
        advance: is told how many views an item had.
    """

    identity: Identity
    panel: Panel
    shape: ItemShape
    indexes: Sequence[ShardIndex | None]
    readers: int
    bad: BadSamples
    advance: Callable[[int], None]
    clock: Clock = field(default_factory=Clock)

    def run(
        self, source: TaskSource, committer: Committer, interrupts: Interrupts, standing: Callable[[], str]
    ) -> None:
        """Work off what the source hands out, in order.

        Raises:
            InterruptedRunError: a signal came; the unit in flight is dropped.
        """
        with lost_readers_explained(interrupts, standing):
            while source.more():
                interrupts.raise_if_requested(standing())
                self._round(source, committer, interrupts, standing)
                committer.flush()
        log.info(
            "reading done",
            extra={
                "views": self.clock.views,
                "reader_wait": self.clock.reader_wait,
                "teacher_wait": self.clock.teacher_wait,
                "writer_wait": self.clock.writer_wait,
            },
        )

    def _round(
        self, source: TaskSource, committer: Committer, interrupts: Interrupts, standing: Callable[[], str]
    ) -> None:
        before_readers = self.clock.reader_wait
        started = time.monotonic()
        writing = 0.0
        for outcome in self.panel.outcomes(self._rendered(source)):
            before = time.monotonic()
            committer.put(outcome)
            writing += time.monotonic() - before
            self.clock.views += int((outcome.rendered.digests_GN != 0).sum())
            self.advance(outcome.rendered.digests_GN.size)
            interrupts.raise_if_requested(standing())
        reading = self.clock.reader_wait - before_readers
        self.clock.writer_wait += writing
        self.clock.teacher_wait += max(0.0, time.monotonic() - started - reading - writing)

    def _rendered(self, source: TaskSource) -> Iterator[tuple[RenderedItem, Task]]:
        tasks: deque[Task] = deque()
        group = self.identity.seeds_per_group

        def items() -> Iterator[Item]:
            for task in source:
                for item in self.shape.items_of(task, seeds_per_group=group, thumbnail_rows=THUMBNAIL_ROWS):
                    tasks.append(task)
                    yield item

        reader = ItemReader(self.indexes, self.identity.policy, num_classes=self.identity.num_classes)
        rendered = rendered_items(
            reader,
            items(),
            processes=self.readers,
            pin_memory=any(teacher.device.type == "cuda" for teacher in self.panel.teachers),
        )
        for item in _timed(rendered, self.clock):
            task = tasks.popleft()
            self.bad.note(item, task, first_seed=item.item.aug_seeds[0] % group == 0)
            yield item, task


def _timed(items: Iterable[T], clock: Clock) -> Iterator[T]:
    before = time.monotonic()
    for item in items:
        clock.reader_wait += time.monotonic() - before
        yield item
        before = time.monotonic()
