"""What a run that could begin has to do."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from kdcache.precompute.plan import Task, plan
from kdcache.precompute.prepare import Prepared, work_of
from kdcache.store.layout import Block, Layout, Unit
from kdcache.store.manifest import Identity
from kdcache.teachers.embedding import Embedding
from kdcache.teachers.ensemble import Ensemble
from kdcache.teachers.protocol import Teacher

__all__ = ["Look"]


@dataclass(frozen=True, slots=True)
class Look:
    """A run, what of it is committed, and what is left.

    Attributes:
        prepared: the run; its writer is asked, but writes nothing.
        committed: names of units.
        pending: what the run would do.
    """

    prepared: Prepared
    committed: Collection[str]
    pending: tuple[Task, ...]

    @classmethod
    def at(cls, prepared: Prepared) -> Self:
        """Look at a run."""
        return cls(prepared, prepared.writer.committed(), work_of(prepared).pending)

    @property
    def identity(self) -> Identity:
        """What the cache will be."""
        return self.prepared.writer.manifest.identity

    @property
    def layout(self) -> Layout:
        """Where everything will be."""
        return self.prepared.writer.layout

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers of the run."""
        return tuple(teacher.name for teacher in self.prepared.teachers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the shards that were given."""
        indexes = self.prepared.settings.data.indexes
        return tuple(block for block in self.layout.blocks if indexes[block.shard] is not None)

    @property
    def everything(self) -> tuple[Task, ...]:
        """What the run would do if nothing were committed."""
        return plan(self.blocks, self.layout.num_groups, self.names, ()).pending

    def tasks_of(self, teacher: str) -> tuple[Task, ...]:
        """Return what is left for one teacher."""
        return tuple(task for task in self.pending if teacher in task.teachers)

    def new_views(self) -> tuple[Task, ...]:
        """Return the tasks that also commit their views; those of the others are there."""
        return tuple(task for task in self.pending if _views(task).name not in self.committed)

    def new_samples(self) -> tuple[Block, ...]:
        """Return the blocks whose samples are committed, too."""
        blocks = {task.block.index: task.block for task in self.pending}
        return tuple(block for i, block in blocks.items() if Unit.samples(i).name not in self.committed)

    def units_then(self) -> set[Unit]:
        """Return every unit that will be committed when the run is complete."""
        there = {unit for unit in self.layout.units() if unit.name in self.committed}
        new = {Unit(name, task.block.index, task.group) for task in self.pending for name in task.teachers}
        return (
            there | new | set(map(_views, self.pending)) | {Unit.samples(b.index) for b in self.new_samples()}
        )

    def num_views(self, tasks: Iterable[Task]) -> int:
        """Return how many views these tasks have, bad samples included."""
        return sum(task.block.num_rows for task in tasks) * self.identity.seeds_per_group

    def asked(self, tasks: Iterable[Task]) -> dict[str, int]:
        """Return how many views each network is shown: for itself, its features or its ensembles."""
        members = {teacher.name: _networks(teacher) for teacher in self.prepared.teachers}
        counts: Counter[str] = Counter()
        for task in tasks:
            networks = {network for name in task.teachers for network in members[name]}
            counts.update(dict.fromkeys(networks, self.num_views([task])))
        return dict(counts)


def _networks(teacher: Teacher) -> tuple[str, ...]:
    if isinstance(teacher, Ensemble):
        return tuple(member.name for member in teacher.members)
    if isinstance(teacher, Embedding):
        return (teacher.owner.name,)
    return (teacher.name,)


def _views(task: Task) -> Unit:
    return Unit.views(task.block.index, task.group)
