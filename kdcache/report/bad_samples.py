"""Which samples a cache marks as bad: both stages skip them."""

from collections.abc import Iterator
from dataclasses import dataclass

from kdcache.store.layout import Unit
from kdcache.store.reader import Cache
from kdcache.store.tables import STATUS_NAMES

__all__ = ["BadSample", "bad_samples"]


@dataclass(frozen=True, slots=True)
class BadSample:
    """One sample without views."""

    shard: str
    key: str
    reason: str


def bad_samples(cache: Cache) -> Iterator[BadSample]:
    """Yield the bad samples of all committed blocks, in shard order; reads every sample table.

    Raises:
        CorruptChunkError: a table is damaged.
    """
    for block in cache.blocks:
        if not cache.is_committed(Unit.samples(block.index).name):
            continue
        table = cache.samples(block.index)
        shard = cache.identity.shards[block.shard].name
        for key, status in zip(table.keys, table.status.tolist(), strict=True):
            if status in STATUS_NAMES:
                yield BadSample(shard, key, STATUS_NAMES[status])
