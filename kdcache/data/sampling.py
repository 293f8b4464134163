"""Which views of a cache are looked at again: all of them, or a sample that is spread evenly."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np

from kdcache.data.cached_samples import CachedSamples
from kdcache.data.committed import Snapshot
from kdcache.data.pairs import partners_of
from kdcache.views.mix import MATCH_SEEDS

__all__ = ["Look", "all_looks", "looks_at", "num_views", "some_looks"]

_STREAM = 0x6B646361636865
"""Any fixed number: the same cache gives the same sample."""


@dataclass(frozen=True, slots=True)
class Look:
    """Samples that are decoded once, and the views of them that are compared.

    Attributes:
        block: their block.
        rows: one row; or the two of a pair, the lower one first.
        aug_seeds: empty for a bad sample, of which only the bytes are compared.
    """

    block: int
    rows: tuple[int, ...]
    aug_seeds: tuple[int, ...]


def num_views(samples: CachedSamples, seeds: Snapshot) -> int:
    """Return how many views there are, those of bad samples included."""
    return sum(samples.cache.blocks[block].num_rows * len(some) for block, some in seeds.items())


def looks_at(samples: CachedSamples, seeds: Snapshot, wanted: int) -> Iterator[Look]:
    """Yield about ``wanted`` views, or all there are."""
    is_all = wanted >= num_views(samples, seeds)
    return all_looks(samples, seeds) if is_all else some_looks(samples, seeds, wanted)


def all_looks(samples: CachedSamples, seeds: Snapshot) -> Iterator[Look]:
    """Yield every view once, block by block, and every bad sample."""
    for block, aug_seeds in seeds.items():
        for together in _matched_together(samples, aug_seeds):
            cells = samples.cells(block, together[0])
            yield from (Look(block, tuple(rows), together) for rows in cells.main.tolist())
            yield from (Look(block, (row,), together) for row in cells.singles.tolist())
        for row in np.flatnonzero(~samples.table(block).ok_N).tolist():
            if samples.holds(block, row):
                yield Look(block, (row,), ())


def some_looks(samples: CachedSamples, seeds: Snapshot, wanted: int) -> Iterator[Look]:
    """Yield one view out of each of ``wanted`` equal parts; under a mixing policy a pair out of half as many.

    A part whose draw falls on a bad sample, or on one that the shards don't hold, gives nothing.
    """
    blocks = list(seeds)
    ends = list(accumulate(samples.cache.blocks[block].num_rows * len(seeds[block]) for block in blocks))
    num_parts = min(-(-wanted // samples.cell_size), ends[-1])
    words = np.random.Philox(key=_STREAM).random_raw(num_parts).tolist()
    for part, word in enumerate(words):
        first, stop = part * ends[-1] // num_parts, (part + 1) * ends[-1] // num_parts
        slot = first + word % (stop - first)
        place = bisect_right(ends, slot)
        block = blocks[place]
        row, seed = divmod(slot - (ends[place - 1] if place else 0), len(seeds[block]))
        if samples.holds(block, row) and samples.table(block).ok_N[row]:
            aug_seed = seeds[block][seed]
            yield Look(block, _cell_of(samples, block, row, aug_seed), (aug_seed,))


def _matched_together(samples: CachedSamples, aug_seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """Cut seeds into runs under which the same samples are paired."""
    if samples.cell_size == 1:
        return [tuple(aug_seeds)]
    return [tuple(run) for _, run in groupby(aug_seeds, key=lambda seed: seed // MATCH_SEEDS)]


def _cell_of(samples: CachedSamples, block: int, row: int, aug_seed: int) -> tuple[int, ...]:
    if samples.cell_size == 1:
        return (row,)
    partner = int(partners_of(samples.table(block), aug_seed)[row])
    return (row,) if partner == row else (min(row, partner), max(row, partner))
