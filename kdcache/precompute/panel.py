"""All teachers of a run, shown one item at a time, or several at once."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from kdcache.errors import KdcacheError
from kdcache.precompute.batches import cut_logits, teacher_logits
from kdcache.precompute.commit import Outcome
from kdcache.precompute.describe import Tuning
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem
from kdcache.store.manifest import TeacherIdentity
from kdcache.teachers.ensemble import Ensemble
from kdcache.teachers.protocol import Teacher

__all__ = ["Panel"]

Seen = tuple[RenderedItem, Task]


class Panel:
    """Shows items to the teachers of their tasks, and cuts what they say.

    On a CPU one batch on all cores is slower than one batch on each core, where no thread waits for another;
    and the operating system then shares the cores between teachers and readers as they need them.
    """

    def __init__(
        self, teachers: Sequence[Teacher], identities: Mapping[str, TeacherIdentity], tuning: Tuning
    ) -> None:
        self.teachers = tuple(teachers)
        self._identities = identities
        self._tuning = tuning

    def outcomes(self, items: Iterable[Seen]) -> Iterator[Outcome]:
        """Yield what the teachers say of each item, in order."""
        if self._tuning.parallel_batches == 1:
            yield from (self._see(rendered, task) for rendered, task in items)
            return
        with ThreadPoolExecutor(
            self._tuning.parallel_batches,
            thread_name_prefix="kdcache-teacher",
            initializer=torch.set_num_threads,
            initargs=(self._tuning.teacher_threads,),
        ) as pool:
            yield from self._in_order(pool, items)

    def _in_order(self, pool: ThreadPoolExecutor, items: Iterable[Seen]) -> Iterator[Outcome]:
        waiting: deque[Future[Outcome]] = deque()
        try:
            for rendered, task in items:
                waiting.append(pool.submit(self._see, rendered, task))
                # One more than there are threads, so that none of them waits for this one.
                if len(waiting) > self._tuning.parallel_batches:
                    yield waiting.popleft().result()
            yield from _results(waiting)
        except KdcacheError:
            # What was read before the damage is still seen, so that whole units are kept.
            yield from _results(waiting)
            raise
        finally:
            for future in waiting:
                future.cancel()

    def _see(self, rendered: RenderedItem, task: Task) -> Outcome:
        logits: dict[str, Tensor] = {}
        cuts, seconds = {}, {}
        for teacher in self.teachers:
            if teacher.name in task.teachers:
                before = time.monotonic()
                logits_BC = self._ask(teacher, rendered.views_B3HW, logits)
                cuts[teacher.name] = cut_logits(logits_BC, self._identities[teacher.name])
                seconds[teacher.name] = time.monotonic() - before
        return Outcome(task, rendered.without_views(), cuts, seconds)

    def _ask(self, teacher: Teacher, views_B3HW: Tensor, logits: dict[str, Tensor]) -> Tensor:
        """Return a teacher's logits; those of an ensemble come from its members, each asked once."""
        if teacher.name in logits:
            return logits[teacher.name]
        if isinstance(teacher, Ensemble):
            found = teacher.combine({one.name: self._ask(one, views_B3HW, logits) for one in teacher.members})
        else:
            found = teacher_logits(teacher, views_B3HW, batch_size=self._tuning.batch_size)
        logits[teacher.name] = found
        return found


def _results(waiting: deque[Future[Outcome]]) -> Iterator[Outcome]:
    while waiting:
        yield waiting.popleft().result()
