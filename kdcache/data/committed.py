"""Which augmentation seeds of a cache's blocks are committed: what a pass may draw from."""

from collections.abc import Sequence

from kdcache.store.layout import VIEWS
from kdcache.store.reader import Cache

__all__ = ["Snapshot", "committed_seeds"]

Snapshot = dict[int, tuple[int, ...]]
"""The augmentation seeds of each block whose targets are committed."""


def committed_seeds(cache: Cache, blocks: Sequence[int], units: Sequence[str]) -> Snapshot:
    """Return which augmentation seeds each block has of all these kinds of units; blocks without any are left out.

    Kinds are teachers, or what ``cache.feature_units`` names. Without one it is the rendered views that count.
    """
    per_group = cache.identity.seeds_per_group
    found: Snapshot = {}
    for block in blocks:
        groups = [set(cache.committed_groups(kind, block)) for kind in units or (VIEWS,)]
        common = sorted(set.intersection(*groups))
        seeds = tuple(seed for group in common for seed in range(group * per_group, (group + 1) * per_group))
        if seeds:
            found[block] = seeds
    return found
