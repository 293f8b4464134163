"""Samples that two caches hold under one key in different shards."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xxhash

from kdcache.recast.source import Place, Source
from kdcache.store.layout import SAMPLES, Unit

__all__ = ["repeated_keys"]

_MOST_NAMED = 4


def repeated_keys(sources: Sequence[Source], chosen: Mapping[Place, tuple[Source, Unit]]) -> Iterator[str]:
    """Name keys that are in two shards which no single one of the sources holds; a few, if there are many.

    Args:
        sources: all of them.
        chosen: the units of the merged cache.
    """
    blocks = [(place, source, unit) for place, (source, unit) in chosen.items() if place.kind == SAMPLES]
    hashes, numbers = _hashed(blocks)
    order = np.argsort(hashes, kind="stable")
    hashes, numbers = hashes[order], numbers[order]
    starts = np.flatnonzero(np.diff(hashes, prepend=hashes[:1] ^ np.uint64(1)))
    ends = np.append(starts[1:], len(hashes))
    is_repeated = ends - starts > 1
    together = [{entry.name for entry in source.identity.shards} for source in sources]
    named = 0
    for start, end in zip(starts[is_repeated].tolist(), ends[is_repeated].tolist(), strict=True):
        places = [blocks[number] for number in numbers[start:end].tolist()]
        text = _conflict(places, hashes[start], together)
        if text is not None:
            yield text
            named += 1
        if named == _MOST_NAMED:
            return


def _hashed(
    blocks: Sequence[tuple[Place, Source, Unit]],
) -> tuple["np.ndarray[tuple[int], np.dtype[np.uint64]]", "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    # Twelve bytes a sample: the keys themselves may be millions of strings.
    hashes, numbers = [], []
    for number, (_, source, unit) in enumerate(blocks):
        found = [xxhash.xxh3_64_intdigest(key.encode()) for key in source.reader.samples(unit.block).keys]
        hashes.append(np.array(found, dtype=np.uint64))
        numbers.append(np.full(len(found), number, dtype=np.int64))
    if not blocks:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    return np.concatenate(hashes), np.concatenate(numbers)


def _conflict(
    places: Sequence[tuple[Place, Source, Unit]], key_hash: np.uint64, together: Sequence[set[str]]
) -> str | None:
    """Say that one key is in two of these blocks' shards, unless one cache has both of them already."""
    for i, (place, source, unit) in enumerate(places):
        for other, other_source, other_unit in places[i + 1 :]:
            if any({place.shard, other.shard} <= names for names in together):
                continue
            key = _key_of(source, unit, key_hash)
            if key == _key_of(other_source, other_unit, key_hash):
                return (
                    f"sample {key!r} is in shard {place.shard!r} of {source.url} and in shard {other.shard!r} "
                    f"of {other_source.url}"
                )
    return None


def _key_of(source: Source, unit: Unit, key_hash: np.uint64) -> str:
    keys = source.reader.samples(unit.block).keys
    return next(key for key in keys if xxhash.xxh3_64_intdigest(key.encode()) == int(key_hash))
