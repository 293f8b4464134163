"""The rows of one task until all of them are there, and their commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import TeacherError
from kdcache.logits import Float32, TopKLogits
from kdcache.precompute.encoded_rows import Complaint, EncodedRows, complaint_about
from kdcache.precompute.outcome import Outcome, TeacherCounts
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem
from kdcache.store.encoding import empty_planes
from kdcache.store.layout import THUMBNAIL_ROWS
from kdcache.store.manifest import Identity, TeacherIdentity
from kdcache.store.tables import SampleTable
from kdcache.store.writer import CacheWriter

__all__ = ["UnitBuffer"]


@dataclass(slots=True)
class UnitBuffer:
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
            self._add_rows(name, cut.to_numpy(), rendered, first=first, first_seed=first_seed)
            self.counts[name].seconds += outcome.seconds[name]
        if first_seed == 0:
            self.tables.append(rendered.table)
        self.num_views += rendered.digests_GN.size
        self.seconds += rendered.seconds

    def _add_rows(
        self,
        name: str,
        values: TopKLogits | Float32,
        rendered: RenderedItem,
        *,
        first: int,
        first_seed: int,
    ) -> None:
        entry, num_seeds = self.identities[name], len(rendered.item.aug_seeds)
        is_ok_B = np.repeat(rendered.table.ok_N, num_seeds)
        if not is_ok_B.any():
            return
        complaint = complaint_about(values, is_ok_B)
        if complaint is not None:
            raise TeacherError(self._refusal(entry.subject(name), rendered, complaint))
        encoded = EncodedRows.of(values, is_ok_B, entry)
        rows = slice(first, first + len(rendered.table))
        planes_GPN = self.planes[name][first_seed : first_seed + num_seeds, :, rows]
        num_planes, num_rows = planes_GPN.shape[1:]
        if is_ok_B.all():  # without an index, which takes three times as long
            planes_GPN[:] = encoded.planes_PB.reshape(num_planes, num_rows, num_seeds).transpose(2, 0, 1)
        else:
            planes_GPN.transpose(2, 0, 1)[is_ok_B.reshape(num_rows, num_seeds)] = encoded.planes_PB.T
        if encoded.best_B is not None:
            labels_B = rendered.labels_NG.reshape(-1)[is_ok_B]
            self.counts[name].labelled += int((labels_B >= 0).sum())
            self.counts[name].correct += int((encoded.best_B == labels_B).sum())
            self.counts[name].saturated += encoded.saturated

    def _refusal(self, subject: str, rendered: RenderedItem, complaint: Complaint) -> str:
        row, seed = divmod(int(complaint.rows_B[0]), len(rendered.item.aug_seeds))
        return (
            f"{subject} returned {complaint.problem} for sample {rendered.table.keys[row]!r} of "
            f"shard {self.shard_name} under aug_seed {rendered.item.aug_seeds[seed]} ({len(complaint.rows_B)} views "
            "of this batch); nothing of this unit was written, what was committed before stays. "
            f"{complaint.remedy}"
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
