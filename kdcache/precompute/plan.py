"""Which work is left, and how it is cut into items: pure functions, no I/O."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from kdcache.store.layout import Block, Unit
from kdcache.views.mix import MATCH_SEEDS, MATCH_WINDOW

__all__ = ["Item", "ItemShape", "Plan", "Task", "plan", "probe_items", "probe_windows", "spread"]


@dataclass(frozen=True, slots=True)
class Task:
    """One group of views of one block, for every teacher that has not seen it.

    Attributes:
        block: the block.
        group: the group of augmentation seeds.
        teachers: the teachers whose unit is not committed.
    """

    block: Block
    group: int
    teachers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do.

    Attributes:
        pending: tasks, in the order in which they are done.
        num_units: teacher units of the complete cache.
        num_done: those that are committed.
    """

    pending: tuple[Task, ...]
    num_units: int
    num_done: int

    @property
    def num_pending_units(self) -> int:
        """Teacher units that are left."""
        return sum(len(task.teachers) for task in self.pending)


@dataclass(frozen=True, slots=True)
class Item:
    """What a reader does in one go and a teacher sees in one batch: some rows of one block, under some seeds.

    Attributes:
        shard: position of the shard.
        samples: numbers of the samples within the shard.
        aug_seeds: the views of each sample.
        thumbnail_rows: how many of the samples also get thumbnails.
    """

    shard: int
    samples: tuple[int, ...]
    aug_seeds: tuple[int, ...]
    thumbnail_rows: int = 0


def plan(
    blocks: Sequence[Block], num_groups: int, teachers: Sequence[str], committed: Collection[str]
) -> Plan:
    """List the tasks that are not committed, block by block and group by group."""
    tasks = (
        Task(block, group, tuple(_missing(block, group, teachers, committed)))
        for block in blocks
        for group in range(num_groups)
    )
    pending = tuple(task for task in tasks if task.teachers)
    num_units = len(blocks) * num_groups * len(teachers)
    return Plan(pending, num_units, num_units - sum(len(task.teachers) for task in pending))


def _missing(block: Block, group: int, teachers: Sequence[str], committed: Collection[str]) -> Iterator[str]:
    return (name for name in teachers if Unit(name, block.index, group).name not in committed)


@dataclass(frozen=True, slots=True)
class ItemShape:
    """How many samples, and how many views of each, one item holds at most."""

    rows: int
    seeds: int

    @classmethod
    def of_batch(cls, batch_size: int, seeds_per_group: int) -> Self:
        """Return items that are one teacher batch each, but of one sample at least."""
        return cls(max(1, batch_size // seeds_per_group), seeds_per_group)

    @classmethod
    def of_window(cls, seeds_per_group: int) -> Self:
        """Return whole windows of a mixing policy under the few seeds that may share a matching."""
        return cls(MATCH_WINDOW, min(MATCH_SEEDS, seeds_per_group))

    def items_of(self, task: Task, *, seeds_per_group: int, thumbnail_rows: int) -> Iterator[Item]:
        """Cut a task: for each run of samples, one run of seeds after the other.

        No item crosses a task, so what a batch holds depends on nothing but the task and the shape.
        """
        block, first_seed = task.block, task.group * seeds_per_group
        for row in range(0, block.num_rows, self.rows):
            stop = min(row + self.rows, block.num_rows)
            for seed in range(0, seeds_per_group, self.seeds):
                last = min(seed + self.seeds, seeds_per_group)
                yield Item(
                    shard=block.shard,
                    samples=tuple(range(block.first + row, block.first + stop)),
                    aug_seeds=tuple(range(first_seed + seed, first_seed + last)),
                    thumbnail_rows=max(0, min(thumbnail_rows, stop) - row),
                )


def spread(counts: Sequence[int], wanted: int) -> tuple[tuple[int, int], ...]:
    """Return ``wanted`` (shard, sample) pairs, or all there are, evenly spaced over shards of these sizes.

    >>> spread([2, 4], 3)
    ((0, 0), (1, 0), (1, 2))
    """
    total = sum(counts)
    wanted = min(wanted, total)
    places: list[tuple[int, int]] = []
    shard, before = 0, 0
    for i in range(wanted):
        position = i * total // wanted
        while position >= before + counts[shard]:
            before += counts[shard]
            shard += 1
        places.append((shard, position - before))
    return tuple(places)


def probe_items(counts: Sequence[int], wanted: int, *, batch_size: int) -> tuple[Item, ...]:
    """Return items over ``wanted`` samples, evenly spaced over shards of these sizes, under aug_seed 0."""
    by_shard: dict[int, list[int]] = {}
    for shard, sample in spread(counts, wanted):
        by_shard.setdefault(shard, []).append(sample)
    return tuple(
        Item(shard, tuple(samples[start : start + batch_size]), aug_seeds=(0,))
        for shard, samples in by_shard.items()
        for start in range(0, len(samples), batch_size)
    )


def probe_windows(counts: Sequence[int], wanted: int) -> tuple[Item, ...]:
    """Return whole mixing windows of about ``wanted`` samples in all, evenly spaced, under aug_seed 0."""
    windows = [-(-count // MATCH_WINDOW) for count in counts]
    return tuple(
        Item(shard, tuple(range(first * MATCH_WINDOW, min((first + 1) * MATCH_WINDOW, counts[shard]))), (0,))
        for shard, first in spread(windows, -(-wanted // MATCH_WINDOW))
    )
