"""Where in a cache a sample is, given the name of its shard and its key: for pipelines that read shards themselves."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from kdcache.errors import ManifestMismatchError
from kdcache.store.layout import Unit
from kdcache.store.reader import Cache
from kdcache.store.tables import SampleTable

__all__ = ["KeyPlaces"]

_log = logging.getLogger(__name__)

_TABLES_KEPT = 16
_Place = tuple[int, int]


class KeyPlaces:
    """Finds (block, row) of samples; the tables of the blocks that were hit last stay at hand.

    A shard that has a cached shard's name is searched block by block, the last one hit first. Samples of other
    shards are looked up in an index over the keys of the whole cache: 16 bytes a sample, made once and shared
    with forked loader workers.
    """

    def __init__(self, cache: Cache, names: Sequence[str] | None) -> None:
        """Prepare to find samples of the shards of these names; None: of any shard, by key alone.

        Raises:
            MissingViewError: the cache's samples cannot be read.
        """
        self._cache = cache
        entries = {shard.name: number for number, shard in enumerate(cache.identity.shards)}
        known = set(entries) if names is not None else set()
        self._blocks: dict[str, list[int]] = {name: [] for name in known}
        by_number = {number: name for name, number in entries.items() if name in known}
        for block in cache.blocks:
            if block.shard in by_number and cache.is_committed(Unit.samples(block.index).name):
                self._blocks[by_number[block.shard]].append(block.index)
        strangers = ["any shard"] if names is None else [name for name in names if name not in known]
        self._index = _KeyIndex(cache) if strangers else None
        if names and strangers:
            _log.warning(
                "the cache %s knows no shard %r (%d such): their samples are found by key in an index of the "
                "whole cache, which takes 16 bytes a sample",
                cache.url,
                strangers[0],
                len(strangers),
            )
        self.blocks = self._blocks_of(names)
        self._last: dict[str, int] = {}
        self._open()

    def _blocks_of(self, names: Sequence[str] | None) -> tuple[int, ...]:
        """Return the blocks in which samples may be found."""
        if self._index is not None:
            return self._index.blocks
        return tuple(sorted(block for name in set(names or ()) for block in self._blocks[name]))

    def _open(self) -> None:
        self._rows = lru_cache(maxsize=_TABLES_KEPT)(self._read_rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave read blocks behind; a worker reads its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with no block at hand."""
        self.__dict__.update(state)
        self._open()

    def table(self, block: int) -> SampleTable:
        """Return what the cache says of a block's samples."""
        table: SampleTable = self._rows(block)[0]
        return table

    def find(self, shard: str, key: str) -> _Place | None:
        """Return (block, row) of the sample ``key`` of the shard named ``shard``; None if there is none.

        Raises:
            ManifestMismatchError: it can be found by key alone only, and several samples have this key.
        """
        blocks = self._blocks.get(shard)
        if blocks:
            last = self._last.get(shard, 0)
            for position in sorted(range(len(blocks)), key=lambda other: abs(other - last)):
                row = self._rows(blocks[position])[1].get(key)
                if row is not None:
                    self._last[shard] = position
                    return blocks[position], row
        return None if self._index is None else self._find_by_key(shard, key)

    def _find_by_key(self, shard: str, key: str) -> _Place | None:
        assert self._index is not None
        found = [
            (block, row)
            for block, row in self._index.candidates(key)
            if self._rows(block)[0].keys[row] == key
        ]
        if len(found) > 1:
            names = [self._cache.identity.shards[self._cache.blocks[block].shard].name for block, _ in found]
            raise ManifestMismatchError(
                f"sample {key!r} of {shard or 'an unnamed shard'} is in {' and '.join(names[:2])} of the cache "
                f"{self._cache.url}; samples can be joined by key only if keys are unique: read the shards that "
                "the cache was made from, under their names, and pass them as shards"
            )
        return found[0] if found else None

    def _read_rows(self, block: int) -> tuple[SampleTable, dict[str, int]]:
        table = self._cache.samples(block)
        return table, {key: row for row, key in enumerate(table.keys)}


class _KeyIndex:
    """Sorted key digests of all committed samples, and their places."""

    def __init__(self, cache: Cache) -> None:
        self.blocks = tuple(
            block.index for block in cache.blocks if cache.is_committed(Unit.samples(block.index).name)
        )
        digests = [_digests(cache.samples(block).keys) for block in self.blocks]
        places = [
            (np.int64(block) << 32) + np.arange(len(part), dtype=np.int64)
            for block, part in zip(self.blocks, digests, strict=True)
        ]
        digests_N = np.concatenate([np.empty(0, np.uint64), *digests])
        order = np.argsort(digests_N, kind="stable")
        self._digests_N = digests_N[order]
        self._places_N = np.concatenate([np.empty(0, np.int64), *places])[order]

    def candidates(self, key: str) -> list[_Place]:
        """Return the places of all samples whose key has this key's digest."""
        digest = _digests([key])[0]
        first, stop = (int(np.searchsorted(self._digests_N, digest, side=side)) for side in ("left", "right"))
        return [(int(place >> 32), int(place & 0xFFFFFFFF)) for place in self._places_N[first:stop]]


def _digests(keys: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([xxhash.xxh3_64_intdigest(key.encode()) for key in keys], dtype=np.uint64)
