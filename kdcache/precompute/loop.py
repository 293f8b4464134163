"""The main loop: reader processes -> teachers -> writer thread."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kdcache.config.precompute import PrecomputeConfig
from kdcache.data.index import ShardIndex
from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.batches import cut_logits, teacher_logits
from kdcache.precompute.commit import Committer, Outcome
from kdcache.precompute.describe import Tuning
from kdcache.precompute.plan import Items, ItemShape, Plan, Task
from kdcache.precompute.reader import ItemReader, RenderedItem, lost_readers_explained, rendered_items
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress
from kdcache.store.layout import THUMBNAIL_ROWS
from kdcache.store.writer import CacheWriter
from kdcache.teachers.protocol import Teacher

__all__ = ["Clock", "Loop"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Clock:
    """Where the time of the main loop goes, in seconds; what is left is the teachers'."""

    reader_wait: float = 0.0
    writer_wait: float = 0.0
    views: int = 0


@dataclass(frozen=True, slots=True)
class Loop:
    """What stays the same over the tasks of a run."""

    config: PrecomputeConfig
    writer: CacheWriter
    teachers: Sequence[Teacher]
    indexes: Sequence[ShardIndex]
    tuning: Tuning
    bad: BadSamples
    clock: Clock = field(default_factory=Clock)

    def run(
        self, work: Plan, committer: Committer, *, progress: Progress, interrupts: Interrupts, resume: str
    ) -> None:
        """Work off what is pending, in order.

        Raises:
            InterruptedRunError: a signal came; the unit in flight is dropped.
        """

        def standing() -> str:
            done = work.num_done + committer.units
            return f"{done} of {work.num_units} units are committed and stay; to continue: {resume}"

        with lost_readers_explained(interrupts, standing):
            for outcome in self._outcomes(work):
                before = time.monotonic()
                committer.put(outcome)
                self.clock.writer_wait += time.monotonic() - before
                self.clock.views += int((outcome.rendered.digests_GN != 0).sum())
                progress.advance(outcome.rendered.digests_GN.size, committer.top1())
                interrupts.raise_if_requested(standing())
        log.info(
            "reading done",
            extra={
                "views": self.clock.views,
                "reader_wait": self.clock.reader_wait,
                "writer_wait": self.clock.writer_wait,
            },
        )

    def _outcomes(self, work: Plan) -> Iterator[Outcome]:
        identity = self.writer.manifest.identity
        group = identity.seeds_per_group
        mixes = identity.policy.mixing is not None
        shape = ItemShape.of_window(group) if mixes else ItemShape.of_batch(self.tuning.batch_size, group)
        items = Items(work.pending, shape, seeds_per_group=group, thumbnail_rows=THUMBNAIL_ROWS)
        reader = ItemReader(self.indexes, items, self.config.policy, num_classes=identity.num_classes)
        rendered = rendered_items(
            reader,
            workers=min(self.config.workers, len(items)),
            pin_memory=self.teachers[0].device.type == "cuda",
        )
        for number, item in enumerate(self._timed(rendered)):
            position = items.task_of(number)
            if work.is_first_of_block(position) and item.item.aug_seeds[0] % group == 0:
                self.bad.note(item)
            yield self._seen(item, work.pending[position])

    def _timed(self, rendered: Iterable[RenderedItem]) -> Iterator[RenderedItem]:
        before = time.monotonic()
        for item in rendered:
            self.clock.reader_wait += time.monotonic() - before
            yield item
            before = time.monotonic()

    def _seen(self, rendered: RenderedItem, task: Task) -> Outcome:
        """Show an item to the teachers of its task."""
        identities, cuts, seconds = self.writer.manifest.identity.teachers, {}, {}
        for teacher in self.teachers:
            if teacher.name in task.teachers:
                before = time.monotonic()
                logits_BC = teacher_logits(teacher, rendered.views_B3HW, batch_size=self.tuning.batch_size)
                cuts[teacher.name] = cut_logits(logits_BC, identities[teacher.name])
                seconds[teacher.name] = time.monotonic() - before
        return Outcome(task, rendered.without_views(), cuts, seconds)
