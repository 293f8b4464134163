"""A cache made of cuts by stage one's own code, from what its teachers hand to its writer thread on."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from kdcache.config.views import ViewPolicy
from kdcache.precompute.outcome import Outcome
from kdcache.precompute.plan import Item, ItemShape, Task
from kdcache.precompute.reader import RenderedItem
from kdcache.precompute.unit_buffer import UnitBuffer
from kdcache.store.layout import THUMBNAIL_ROWS, blocks_of, default_seeds_per_group
from kdcache.store.manifest import Manifest
from kdcache.store.tables import STATUS_OK, SampleTable
from kdcache.store.writer import CacheWriter
from tests.benchmarks.cuts import Cuts
from tests.support.stores import make_manifest, make_teacher

__all__ = ["TEACHER", "cache_manifest", "key_of", "outcomes_of", "write_cache", "write_units"]

TEACHER = "teacher"


def key_of(sample: int) -> str:
    """Return a key as long as those of ImageNet."""
    return f"n01440764_{sample:08d}"


def cache_manifest(cuts: Cuts, *, num_seeds: int, rows_per_block: int) -> Manifest:
    """Describe the cache of these views, all of them of one shard; the encoding is the default one."""
    return make_manifest(
        num_samples=[len(cuts) // num_seeds],
        rows_per_block=rows_per_block,
        num_aug_seeds=num_seeds,
        seeds_per_group=default_seeds_per_group(num_seeds, rows_per_block),
        num_classes=cuts.cut.num_classes,
        teachers={TEACHER: make_teacher(top_k=cuts.top_k, num_classes=cuts.cut.num_classes)},
        policy=ViewPolicy.named("rrc"),
    )


def outcomes_of(cuts: Cuts, manifest: Manifest, *, batch_size: int) -> Iterator[Outcome]:
    """Yield what the teachers hand over, batch by batch; view n is sample n // V under aug_seed n % V."""
    identity = manifest.identity
    seeds_per_group, num_seeds = identity.seeds_per_group, identity.num_aug_seeds
    shape = ItemShape.of_batch(batch_size, seeds_per_group)
    for block in blocks_of(identity):
        for group in range(num_seeds // seeds_per_group):
            task = Task(block, group, (TEACHER,))
            for item in shape.items_of(task, seeds_per_group=seeds_per_group, thumbnail_rows=THUMBNAIL_ROWS):
                views = np.add.outer(np.array(item.samples) * num_seeds, np.array(item.aug_seeds)).reshape(-1)
                yield Outcome(task, _rendered(item), {TEACHER: cuts.take(views)}, {TEACHER: 0.0})


def _rendered(item: Item) -> RenderedItem:
    num_samples, num_seeds = len(item.samples), len(item.aug_seeds)
    table = SampleTable(
        keys=tuple(key_of(sample) for sample in item.samples),
        labels=np.zeros(num_samples, dtype=np.int32),
        digests=np.array(item.samples, dtype=np.uint64),
        status=np.full(num_samples, STATUS_OK, dtype=np.uint8),
    )
    rng = np.random.Generator(np.random.PCG64(item.samples[0]))
    return RenderedItem(
        item=item,
        views_B3HW=torch.empty(0, dtype=torch.uint8),
        table=table,
        labels_NG=np.zeros((num_samples, num_seeds), dtype=np.int32),
        digests_GN=rng.integers(1, 1 << 24, (num_seeds, num_samples), dtype=np.uint32),
        thumbnails=rng.integers(0, 256, (num_seeds, item.thumbnail_rows, 8, 8, 3), dtype=np.uint8),
        complaints=(),
        seconds=0.0,
    )


def write_cache(path: Path, manifest: Manifest, outcomes: Iterable[Outcome]) -> None:
    """Write a whole cache."""
    writer = CacheWriter.create_or_resume(path, manifest)
    write_units(writer, outcomes)
    writer.finish()


def write_units(writer: CacheWriter, outcomes: Iterable[Outcome]) -> None:
    """Do what stage one's writer thread does."""
    buffer: UnitBuffer | None = None
    for outcome in outcomes:
        if buffer is None:
            buffer = UnitBuffer.of(outcome.task, writer.manifest.identity)
        buffer.add(outcome)
        if buffer.is_whole:
            buffer.commit(writer)
            buffer = None
