"""The samples of a cache, read again from the shards: each must be the one that the cache was made from."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from kdcache.data.cells import Cells
from kdcache.data.index import ShardIndex
from kdcache.data.join import BlockSource
from kdcache.data.pairs import pair_cells
from kdcache.data.read_ahead import ReadAhead
from kdcache.data.remote_shard import RemoteShard
from kdcache.data.shards import RawSample, ShardReader
from kdcache.digest import sample_digest
from kdcache.errors import ManifestMismatchError
from kdcache.store.read_once import ReadOnce
from kdcache.store.reader import Cache
from kdcache.store.tables import SampleTable

__all__ = ["CachedSamples"]

_log = logging.getLogger(__name__)

_SHARDS_OPEN = 64
"""A reader that is dropped closes its file: a data set may have more shards than a process may open files."""
_BATCHES_KEPT = 6
_BLOCKS_LOCATED = 1024

_Piece = tuple[RemoteShard, int]


class CachedSamples:
    """Reads samples by (block, row), and refuses one whose key, bytes or label changed.

    Attributes:
        cache: the cache.
        tables: what the cache says of the samples of the blocks that were used last.
        are_remote: whether reading samples takes time.
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
        self.are_remote = any(index.file.is_remote for index in indexes)
        self._alone = False
        self._open()

    def _open(self) -> None:
        self._readers = lru_cache(maxsize=_SHARDS_OPEN)(self._reader_of)
        self.tables = ReadOnce(self.cache.samples, size=self._blocks_kept)
        self._raws: ReadOnce[RawSample] = ReadOnce(self._raw, size=1)
        self._ahead = ReadAhead()
        self._pieces = lru_cache(maxsize=_BLOCKS_LOCATED)(self._located)

    def _reader_of(self, shard: int) -> ShardReader:
        num_classes = self.cache.identity.num_classes
        return ShardReader(self._indexes[shard], num_classes=num_classes, alone=self._alone)

    def _raw(self, block: int, row: int) -> RawSample:
        shard, shard_row = self._sources[block].place(row)
        return self._readers(shard).read(shard_row)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files and read blocks behind; a worker opens its own."""
        opened = {"_readers", "tables", "_raws", "_ahead", "_pieces"}
        return {name: value for name, value in self.__dict__.items() if name not in opened}

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

    def fit_windows(self, blocks_open: int) -> None:
        """Decide how remote samples are read, when so many blocks are read in random order at a time.

        Their pieces have to stay at hand until all of their samples were used. Where there is no space for so many,
        each sample is asked for alone.
        """
        if not self.are_remote or self._alone:
            return
        largest = max((self._pieces(block) for block in self._sources), key=len)
        if not largest:
            return
        shard, _ = largest[0]
        all_bytes = sum(index.file.size for index in self._indexes if index.file.is_remote)
        needed = min(blocks_open * len(largest) * shard.piece_bytes, all_bytes)
        if needed > shard.pieces.limit:
            _warn_of_space(needed, shard.pieces.limit)
            self.read_alone()

    def read_alone(self) -> None:
        """Ask for nothing but samples from now on: few are wanted, or there is no space for what is beside them."""
        self._alone = True
        self._readers.cache_clear()

    def read_ahead(self, blocks: Iterable[int], *, later: bool = False) -> None:
        """Have what holds the samples of blocks fetched by other threads; ``later``: behind what is needed sooner."""
        if self._alone:
            return
        for block in blocks:
            for shard, number in self._pieces(block):
                if shard.pieces.limit:
                    shard.pieces.ahead(shard, number, later=later)

    def read_rows_ahead(self, places: Sequence[tuple[int, int]]) -> None:
        """Have these (block, row) asked for by other threads, where each is asked for alone."""
        if self._alone:
            self._raws.grow(_BATCHES_KEPT * len(places))
            for block, row in places:
                if self._indexes[self._sources[block].place(row)[0]].file.is_remote:
                    self._ahead.ask(self._raws, block, row)

    def _located(self, block: int) -> list[_Piece]:
        """Return the pieces of remote shards that hold the samples of a block."""
        source = self._sources[block]
        rows_of: dict[int, Any] = {}
        if source.places is None:
            rows_of[source.shard] = np.arange(source.block.num_rows) + source.block.first
        else:
            for shard, row in source.places.values():
                rows_of.setdefault(shard, []).append(row)
        return [
            (file, number)
            for shard, rows in rows_of.items()
            if isinstance(file := self._indexes[shard].file, RemoteShard)
            for number in file.pieces_with(*self._indexes[shard].extents(np.asarray(rows, dtype=np.int64)))
        ]

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
        raw, table = self._raws(block, row) if self._alone else self._raw(block, row), self.table(block)
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


@cache
def _warn_of_space(needed: int, limit: int) -> None:
    _log.warning(
        "the shuffle windows that are open at a time take up to %.1f GB of remote shards, and there is space for "
        "%.1f GB of pieces: every image is asked for by a request of its own; set TMPDIR to a folder with more space "
        "(or KDCACHE_SHARD_SPACE to more gigabytes), or choose fewer lanes or smaller shuffle windows",
        needed / 1e9,
        limit / 1e9,
    )
