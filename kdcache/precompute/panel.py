"""All teachers of a run, shown one item at a time, or several at once."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from kdcache.errors import KdcacheError
from kdcache.precompute.batches import cut_outputs, teacher_logits, teacher_outputs
from kdcache.precompute.describe import Tuning
from kdcache.precompute.outcome import Outcome
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem
from kdcache.store.manifest import TeacherIdentity
from kdcache.teachers.embedding import Embedding
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
        asked = [teacher for teacher in self.teachers if teacher.name in task.teachers]
        heard = _Heard(rendered.views_B3HW, asked, self._tuning.batch_size)
        cuts, seconds = {}, {}
        for teacher in asked:
            before = time.monotonic()
            cuts[teacher.name] = cut_outputs(heard.of(teacher), self._identities[teacher.name])
            seconds[teacher.name] = time.monotonic() - before
        return Outcome(task, rendered.without_views(), cuts, seconds)


class _Heard:
    """What the teachers say of the views of one item; each network is asked once.

    An ensemble's logits come from its members, and an embedding from the same pass as its teacher's logits.
    """

    def __init__(self, views_B3HW: Tensor, asked: Sequence[Teacher], batch_size: int) -> None:
        self._views_B3HW, self._batch_size = views_B3HW, batch_size
        self._embeddings = {one.owner.name: one for one in asked if isinstance(one, Embedding)}
        self._outputs: dict[str, Tensor] = {}

    def of(self, teacher: Teacher) -> Tensor:
        """Return a teacher's outputs."""
        if teacher.name not in self._outputs:
            self._ask(teacher)
        return self._outputs[teacher.name]

    def _ask(self, teacher: Teacher) -> None:
        if isinstance(teacher, Ensemble):
            self._outputs[teacher.name] = teacher.combine({one.name: self.of(one) for one in teacher.members})
            return
        embedding = teacher if isinstance(teacher, Embedding) else self._embeddings.get(teacher.name)
        if embedding is None:
            logits_BC = teacher_logits(teacher, self._views_B3HW, batch_size=self._batch_size)
            self._outputs[teacher.name] = logits_BC
            return
        logits_BC, features_BD = teacher_outputs(
            embedding.owner, self._views_B3HW, batch_size=self._batch_size
        )
        self._outputs |= {embedding.owner.name: logits_BC, embedding.name: features_BD}


def _results(waiting: deque[Future[Outcome]]) -> Iterator[Outcome]:
    while waiting:
        yield waiting.popleft().result()
