"""How often a label is among a teacher's first five classes, measured on some of the cached views."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Int32, TopKLogits
from kdcache.store.layout import Unit
from kdcache.store.reader import Cache

__all__ = ["TopFive", "top_five"]

_K: Final = 5
_VIEWS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class TopFive:
    """A share of views.

    Attributes:
        views: how many labelled views were looked at.
        share: those whose label is among the first five classes.
    """

    views: int
    share: float


def top_five(cache: Cache, teacher: str, *, max_views: int = _VIEWS) -> TopFive | None:
    """Measure one seed of blocks that lie evenly over the cache; None where it cannot be known.

    That is without labels, with fewer than five kept classes, or before anything is committed.

    Raises:
        CorruptChunkError: what is read is damaged.
    """
    entry = cache.identity.teachers[teacher]
    if entry.encoding == "hard" or min(entry.top_k, entry.num_classes) < _K:
        return None
    blocks = [block.index for block in cache.blocks if cache.committed_groups(teacher, block.index)]
    wanted = max(1, max_views // cache.identity.rows_per_block)
    step = max(1, -(-len(blocks) // wanted))
    is_hit = [_hits(cache, teacher, block) for block in blocks[::step]]
    hits_N = np.concatenate([np.zeros(0, dtype=np.bool_), *is_hit])
    return TopFive(len(hits_N), float(hits_N.mean())) if len(hits_N) else None


def _hits(cache: Cache, teacher: str, block: int) -> NDArray[np.bool_]:
    """Say of each labelled view of a block, under its first committed seed, whether its label is found."""
    group = cache.committed_groups(teacher, block)[0]
    assert cache.is_committed(Unit.samples(block).name), "targets are committed behind their samples"
    targets = cache.targets(teacher, block, group * cache.identity.seeds_per_group)
    labels_N = cache.samples(block).labels
    rows = np.flatnonzero((labels_N >= 0) & ~np.isnan(targets.top1_N[: len(labels_N)]))
    found: NDArray[np.bool_] = (_best_five(targets, rows) == labels_N[rows, None]).any(axis=1)
    return found


def _best_five(targets: TopKLogits, rows: NDArray[np.intp]) -> Int32:
    if targets.class_ids_NK is not None:
        return targets.class_ids_NK[rows, :_K]
    # Stable, so that of equal logits the lower class is first, as it is where classes are cut off.
    order: Int32 = np.argsort(-targets.logits_NK[rows], axis=1, kind="stable")[:, :_K].astype(np.int32)
    return order
