"""Which sample of which shard is which row of a cache: by position, or by key where shards were packed anew."""

import logging
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from kdcache.data.index import ShardIndex
from kdcache.errors import ManifestMismatchError
from kdcache.store.layout import Block
from kdcache.store.manifest import Identity, ShardEntry
from kdcache.store.reader import Cache

__all__ = ["BlockSource", "join_shards"]

_log = logging.getLogger(__name__)

_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Where the samples of one block are.

    Attributes:
        block: the block.
        shard: number of the shard among those given, when the block lies there in one piece.
        places: else (shard, row) by row of the block; rows that no given shard holds are left out.
    """

    block: Block
    shard: int = -1
    places: dict[int, _Place] | None = None

    def place(self, row: int) -> _Place:
        """Return (shard, row within the shard) of a row of the block."""
        return (self.shard, self.block.first + row) if self.places is None else self.places[row]


def join_shards(indexes: Sequence[ShardIndex], cache: Cache) -> dict[int, BlockSource]:
    """Find the blocks whose samples are in the given shards; some of a cache's shards are enough.

    A shard that is what the cache knows (same members, whatever its order among the others) is joined by
    position. Samples that were packed into other shards are found by key, which takes memory and time.

    Raises:
        ManifestMismatchError: a shard holds samples that the cache does not know, lacks some that it does
            know, or was packed anew under a mixing policy.
    """
    matched = _match(indexes, cache.identity)
    shards = {entry: number for number, entry in matched.items()}
    sources = {
        block.index: BlockSource(block, shard=shards[block.shard])
        for block in cache.blocks
        if block.shard in shards
    }
    strangers = [number for number in range(len(indexes)) if number not in matched]
    if strangers:
        sources |= _join_by_key(
            indexes, strangers, cache, set(range(len(cache.identity.shards))) - set(shards)
        )
    return dict(sorted(sources.items()))


def _match(indexes: Sequence[ShardIndex], identity: Identity) -> dict[int, int]:
    """Return the manifest's shard for each given one that equals it; a name decides between equal ones."""
    left: dict[tuple[str, int], dict[str, int]] = {}
    for entry, shard in enumerate(identity.shards):
        left.setdefault((shard.digest, shard.num_samples), {})[shard.name] = entry
    matched: dict[int, int] = {}
    for number, index in enumerate(indexes):
        candidates = left.get((index.digest, index.num_samples), {})
        if index.name in candidates:
            matched[number] = candidates.pop(index.name)
    for number, index in enumerate(indexes):
        candidates = left.get((index.digest, index.num_samples), {})
        if number not in matched and candidates:
            matched[number] = candidates.pop(next(iter(candidates)))
    return matched


def _join_by_key(
    indexes: Sequence[ShardIndex], strangers: Sequence[int], cache: Cache, entries: set[int]
) -> dict[int, BlockSource]:
    by_name = {entry.name: entry for number, entry in enumerate(cache.identity.shards) if number in entries}
    first = indexes[strangers[0]]
    if cache.identity.policy.mixing is not None:
        raise ManifestMismatchError(
            f"{first.url} is not packed as the cache knows it ({_packing(first, by_name)}), and the cache's policy "
            "mixes samples that are neighbours in a shard: use the shards that the cache was made from"
        )
    wanted = _places_by_key(indexes, strangers)
    sources: dict[int, BlockSource] = {}
    found: dict[_Place, Block] = {}
    for block in cache.blocks:
        if block.shard not in entries:
            continue
        places = {
            row: wanted[key] for row, key in enumerate(cache.samples(block.index).keys) if key in wanted
        }
        for place in places.values():
            if place in found:
                _refuse_ambiguous(indexes[place[0]], place[1], (found[place], block), by_name, cache)
            found[place] = block
        if places:
            sources[block.index] = BlockSource(block, places=places)
    _check_all_found(indexes, strangers, found, by_name, cache)
    _check_none_missing(indexes, strangers, sources, cache)
    _log.warning(
        "%d of %d shards are not packed as the cache knows them: their samples are joined by key, which is slower",
        len(strangers),
        len(indexes),
    )
    return sources


def _places_by_key(indexes: Sequence[ShardIndex], strangers: Sequence[int]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for number, row, key in _samples_of(indexes, strangers):
        if key in places:
            other = indexes[places[key][0]].url
            raise ManifestMismatchError(
                f"key {key!r} is in {other} and in {indexes[number].url}, and neither shard is packed as the cache "
                "knows it; samples can be joined by key only if keys are unique: use the cache's own shards"
            )
        places[key] = (number, row)
    return places


def _refuse_ambiguous(
    index: ShardIndex, row: int, blocks: tuple[Block, Block], by_name: dict[str, ShardEntry], cache: Cache
) -> NoReturn:
    one, other = (cache.identity.shards[block.shard].name for block in blocks)
    raise ManifestMismatchError(
        f"{index.url} is not packed as the cache {cache.url} knows it ({_packing(index, by_name)}), and its key "
        f"{index.key(row)!r} is in the cache's {one} and {other}; samples can be joined by key only if keys are "
        "unique: use the shards that the cache was made from"
    )


def _samples_of(indexes: Sequence[ShardIndex], numbers: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    for number in numbers:
        for row in range(indexes[number].num_samples):
            yield number, row, indexes[number].key(row)


def _check_all_found(
    indexes: Sequence[ShardIndex],
    strangers: Sequence[int],
    found: Container[_Place],
    by_name: dict[str, ShardEntry],
    cache: Cache,
) -> None:
    unknown = [
        (number, key) for number, row, key in _samples_of(indexes, strangers) if (number, row) not in found
    ]
    if unknown:
        index = indexes[unknown[0][0]]
        raise ManifestMismatchError(
            f"{index.url} holds {len([1 for number, _ in unknown if indexes[number] is index])} samples that the "
            f"cache {cache.url} does not know, the first is {unknown[0][1]!r} ({_packing(index, by_name)}); "
            "a sample was added or renamed: restore the shard, or precompute a cache for these shards"
        )


def _check_none_missing(
    indexes: Sequence[ShardIndex], strangers: Sequence[int], sources: dict[int, BlockSource], cache: Cache
) -> None:
    """A shard that has a cached shard's name must hold all of its samples, somewhere among those given."""
    names = {indexes[number].name: indexes[number] for number in strangers}
    for block in cache.blocks:
        index = names.get(cache.identity.shards[block.shard].name)
        if index is None or _is_joined_whole(sources.get(block.index), block):
            continue
        source = sources.get(block.index)
        known = set() if source is None or source.places is None else set(source.places)
        missing = [key for row, key in enumerate(cache.samples(block.index).keys) if row not in known]
        if missing:
            raise ManifestMismatchError(
                f"{index.url} lacks {len(missing)} samples that the cache {cache.url} has under this shard's name, "
                f"the first is {missing[0]!r}; restore the shard, or precompute a cache for these shards"
            )


def _is_joined_whole(source: BlockSource | None, block: Block) -> bool:
    return source is not None and (source.places is None or len(source.places) == block.num_rows)


def _packing(index: ShardIndex, by_name: dict[str, ShardEntry]) -> str:
    entry = by_name.get(index.name)
    if entry is None:
        return "no shard of the cache has this name or these members"
    return (
        f"the cache's {entry.name} has {entry.num_samples} samples and member digest {entry.digest[:12]}, this one "
        f"{index.num_samples} and {index.digest[:12]}"
    )
