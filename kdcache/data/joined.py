"""Shards and a cache put together: which of its views can be rendered from them, under which seeds."""

from collections.abc import Mapping, Sequence

from kdcache.data.cached_views import CachedViews
from kdcache.data.committed import Snapshot, committed_seeds
from kdcache.data.epoch_plan import seed_runs
from kdcache.data.index import expand_shards, index_shards
from kdcache.data.join import BlockSource, join_shards
from kdcache.errors import ConfigError, MissingViewError
from kdcache.store.reader import Cache

__all__ = ["joined_views"]


def joined_views(
    patterns: Sequence[str],
    cache: Cache,
    *,
    teachers: Sequence[str] | None,
    check_views: int,
    features: Sequence[str] = (),
    views_per_decode: int = 1,
    snapshot: Mapping[int, Sequence[int]] | None = None,
    allow_decoder_drift: bool = False,
) -> tuple[CachedViews, Snapshot]:
    """Return the views of a cache that some shards hold, and which of their seeds are committed.

    Blocks without a whole run of ``views_per_decode`` seeds are left out of the latter.
    """
    names = _teacher_names(cache, teachers)
    units = (*names, *_feature_units(cache, features))
    indexes = tuple(index_shards(expand_shards(patterns)))
    sources = join_shards(indexes, cache)
    seeds = _seeds_to_use(cache, list(sources), units, snapshot, views_per_decode)
    usable = _usable_rows(cache, {block: sources[block] for block in seeds})
    views = CachedViews(
        cache,
        indexes,
        sources,
        usable,
        teachers=names,
        check_views=check_views,
        features=features,
        allow_decoder_drift=allow_decoder_drift,
    )
    return views, seeds


def _seeds_to_use(
    cache: Cache,
    blocks: Sequence[int],
    kinds: Sequence[str],
    snapshot: Mapping[int, Sequence[int]] | None,
    views_per_decode: int,
) -> Snapshot:
    if snapshot:
        strange = sorted(set(snapshot) - set(blocks))
        if strange:
            raise ConfigError(
                f"the snapshot names block {strange[0]} of the cache {cache.url}, which these shards do not hold; "
                "a run goes on with the shards that it began with"
            )
        seeds = {block: tuple(some) for block, some in snapshot.items()}
    else:
        seeds = committed_seeds(cache, blocks, kinds)
    usable = {block: some for block, some in seeds.items() if seed_runs(some, views_per_decode)}
    if not usable:
        runs = f" of {views_per_decode} views per decode" if seeds else ""
        raise MissingViewError(
            f"the cache {cache.url} holds no finished unit{runs} of these shards; run kdcache precompute on them "
            f"first{', or choose fewer views per decode' if seeds else ''}"
        )
    return usable


def _teacher_names(cache: Cache, teachers: Sequence[str] | None) -> tuple[str, ...]:
    names = cache.teachers if teachers is None else tuple(teachers)
    unknown = [name for name in names if name not in cache.teachers]
    if unknown:
        raise ConfigError(
            f"the cache {cache.url} has no teacher {unknown[0]!r}; it has {', '.join(cache.teachers) or 'none'}"
        )
    return names


def _feature_units(cache: Cache, features: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in features if name not in cache.feature_units]
    if unknown:
        raise ConfigError(
            f"the cache {cache.url} has no features of teacher {unknown[0]!r}; it has those of "
            f"{', '.join(cache.feature_units) or 'none'}: kdcache extend --store-features adds them"
        )
    return tuple(cache.feature_units[name] for name in features)


def _usable_rows(cache: Cache, sources: Mapping[int, BlockSource]) -> dict[int, int]:
    """Return how many rows of each block can be trained on: from the records, without reading samples."""
    rows = {
        int(record.unit.rpartition("/")[2]): record.rows
        for record in cache.records()
        if record.unit.startswith("samples/")
    }
    usable = {}
    for block, source in sources.items():
        if block not in rows:
            raise MissingViewError(
                f"the samples of block {block} are not in the cache {cache.url} any more; a run goes on with the cache "
                "that it began with: restore it, or run kdcache precompute to complete it"
            )
        if source.places is None:
            usable[block] = rows[block]
        else:
            usable[block] = int(cache.samples(block).ok_N[sorted(source.places)].sum())
    return usable
