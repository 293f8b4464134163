"""The samples of a cache, read again from the shards: each must be the one that the cache was made from."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from kdcache.data.cells import Cells
from kdcache.data.index import ShardIndex
from kdcache.data.join import BlockSource
from kdcache.data.pairs import pair_cells
from kdcache.data.shards import RawSample, ShardReader
from kdcache.digest import sample_digest
from kdcache.errors import ManifestMismatchError
from kdcache.store.read_once import ReadOnce
from kdcache.store.reader import Cache
from kdcache.store.tables import SampleTable

__all__ = ["CachedSamples"]

_SHARDS_OPEN = 64
"""A reader that is dropped closes its file: a data set may have more shards than a process may open files."""


class CachedSamples:
    """Reads samples by (block, row), and refuses one whose key, bytes or label changed.

    Attributes:
        cache: the cache.
        tables: what the cache says of the samples of the blocks that were used last.
    """

    def __init__(
        self,
        cache: Cache,
        indexes: Sequence[ShardIndex],
        sources: Mapping[int, BlockSource],
        *,
        blocks_kept: int = 128,
    ) -> None:
        self.cache = cache
        self._indexes, self._sources, self._blocks_kept = tuple(indexes), dict(sources), blocks_kept
        self._open()

    def _open(self) -> None:
        self._readers = lru_cache(maxsize=_SHARDS_OPEN)(self._reader_of)
        self.tables = ReadOnce(self.cache.samples, size=self._blocks_kept)

    def _reader_of(self, shard: int) -> ShardReader:
        return ShardReader(self._indexes[shard], num_classes=self.cache.identity.num_classes)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files and read blocks behind; a worker opens its own."""
        return {name: value for name, value in self.__dict__.items() if name not in {"_readers", "tables"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the shards anew."""
        self.__dict__.update(state)
        self._open()

    @property
    def cell_size(self) -> int:
        """Two under a mixing policy: pairs stay together."""
        return 1 if self.cache.identity.policy.mixing is None else 2

    def table(self, block: int) -> SampleTable:
        """Return what the cache says of a block's samples."""
        return self.tables(block)

    def keep_blocks(self, count: int) -> None:
        """Keep what the cache says of at least so many blocks at hand."""
        self._blocks_kept = max(self._blocks_kept, count)
        self.tables.grow(self._blocks_kept)

    def cells(self, block: int, aug_seed: int) -> Cells:
        """Return the good rows of a block that the given shards hold, paired if the policy mixes."""
        table = self.table(block)
        if self.cell_size == 2:
            return pair_cells(table, aug_seed)
        rows = np.flatnonzero(table.ok_N)
        places = self._sources[block].places
        if places is not None:
            rows = rows[np.isin(rows, np.fromiter(places, dtype=np.int64))]
        return Cells(rows[:, None], np.empty(0, dtype=np.int64))

    def holds(self, block: int, row: int) -> bool:
        """Tell whether the given shards hold a sample."""
        places = self._sources[block].places
        return places is None or row in places

    def read(self, block: int, row: int) -> RawSample:
        """Return a sample as the shard holds it.

        Raises:
            ManifestMismatchError: its key, image or label is not the cache's.
            ShardError: the shard got shorter, or the label is no class.
        """
        shard, shard_row = self._sources[block].place(row)
        raw, table = self._readers(shard).read(shard_row), self.table(block)
        if raw.key != table.keys[row]:
            raise ManifestMismatchError(self._changed(block, row, f"its key is {raw.key!r} there"))
        if sample_digest(raw.encoded) != int(table.digests[row]):
            raise ManifestMismatchError(self._changed(block, row, "its image has other bytes"))
        if raw.label != int(table.labels[row]):
            raise ManifestMismatchError(
                self._changed(
                    block, row, f"its label is {raw.label} there and {table.labels[row]} in the cache"
                )
            )
        return raw

    def where(self, block: int, row: int) -> str:
        """Return shard and key of a sample, for messages."""
        return f"{self._indexes[self._sources[block].place(row)[0]].url}: {self.table(block).keys[row]}"

    def _changed(self, block: int, row: int, what: str) -> str:
        return (
            f"sample {self.table(block).keys[row]!r} of the cache {self.cache.url} is not the one in "
            f"{self.where(block, row)}: {what}; restore the shard that the cache was made from, or precompute a "
            "new cache"
        )
