"""The samples of a contact sheet: from shards alone, or from shards joined with a cache."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

import numpy as np

from kdcache.data.index import ShardIndex
from kdcache.data.shards import RawSample, ShardReader
from kdcache.errors import ConfigError
from kdcache.store.tables import STATUS_OK, SampleTable

__all__ = ["Place", "Samples", "ShardSamples", "find_keys", "spread_places"]

Place = tuple[int, int]
"""(block, row) of a sample; without a cache every shard is one block."""


class Samples(Protocol):
    """Samples by place."""

    def table(self, block: int) -> SampleTable:
        """Return keys and status of a block's samples."""
        ...

    def holds(self, block: int, row: int) -> bool:
        """Tell whether the given shards hold a sample."""
        ...

    def read(self, block: int, row: int) -> RawSample:
        """Return a sample."""
        ...

    def where(self, block: int, row: int) -> str:
        """Return shard and key of a sample, for messages."""
        ...


class ShardSamples:
    """Samples as the shards hold them; that one is bad shows only when it is decoded."""

    def __init__(self, indexes: Sequence[ShardIndex]) -> None:
        self._readers = [ShardReader(index) for index in indexes]
        self._tables = lru_cache(maxsize=8)(self._table)

    def table(self, block: int) -> SampleTable:
        """Return the keys of a shard."""
        table: SampleTable = self._tables(block)
        return table

    def holds(self, block: int, row: int) -> bool:
        """Return True."""
        del block, row
        return True

    def read(self, block: int, row: int) -> RawSample:
        """Return a sample."""
        return self._readers[block].read(row)

    def where(self, block: int, row: int) -> str:
        """Return shard and key of a sample, for messages."""
        index = self._readers[block].index
        return f"{index.url}: {index.key(row)}"

    def _table(self, block: int) -> SampleTable:
        index = self._readers[block].index
        return SampleTable(
            keys=tuple(index.key(row) for row in range(len(index))),
            labels=np.full(len(index), -1, dtype=np.int32),
            digests=np.zeros(len(index), dtype=np.uint64),
            status=np.full(len(index), STATUS_OK, dtype=np.uint8),
        )


def spread_places(counts: Mapping[int, int], wanted: int) -> Iterator[Iterator[Place]]:
    """Yield, ``wanted`` times, the places of one of so many equal parts of all samples, in order.

    The first place of a part that can be shown is the one to take.

    >>> [list(part) for part in spread_places({7: 1, 8: 3}, 2)]
    [[(7, 0), (8, 0)], [(8, 1), (8, 2)]]
    """
    total = sum(counts.values())
    wanted = min(wanted, total)
    for part in range(wanted):
        yield _places(counts, part * total // wanted, (part + 1) * total // wanted)


def _places(counts: Mapping[int, int], first: int, stop: int) -> Iterator[Place]:
    blocks, ends = list(counts), list(accumulate(counts.values()))
    for number in range(first, stop):
        at = bisect_right(ends, number)
        yield blocks[at], number - (ends[at - 1] if at else 0)


def find_keys(samples: Samples, blocks: Iterable[int], keys: Sequence[str]) -> tuple[Place, ...]:
    """Return where the samples with these keys are, the first of each.

    Raises:
        ConfigError: there is none of that key.
    """
    wanted = dict.fromkeys(keys)
    found: dict[str, Place] = {}
    for block in blocks:
        for row, key in enumerate(samples.table(block).keys):
            if key in wanted and key not in found and samples.holds(block, row):
                found[key] = (block, row)
    missing = [key for key in wanted if key not in found]
    if missing:
        raise ConfigError(
            f"no sample of these shards has the key {missing[0]!r}; keys are file names up to the first dot"
        )
    return tuple(found[key] for key in wanted)
