"""What a cache says of a block, and what its arrays hold: where the two differ, nothing is trained on."""

from typing import Any

import numpy as np

from kdcache.errors import CorruptChunkError
from kdcache.store.layout import Unit
from kdcache.store.reader import Cache

__all__ = ["damaged_unit", "demand_values"]


def damaged_unit(cache: Cache, unit: Unit, problem: str) -> CorruptChunkError:
    """Say which object of a cache holds what cannot be."""
    spec, position = cache.layout.objects_of(unit)[0]
    return CorruptChunkError(
        f"{spec.object_path(*position)} in {cache.url} is damaged: {problem}; fetch the cache again"
    )


def demand_values(cache: Cache, kind: str, has_values_B: Any, views_B3: Any) -> None:
    """Refuse views of good samples that lack their targets or features.

    Args:
        cache: the cache.
        kind: the teacher, or the features, as its units are named.
        has_values_B: which of the views have some.
        views_B3: block, row and augmentation seed of each view.

    Raises:
        CorruptChunkError: naming the first view that has none.
    """
    if not has_values_B.all():
        block, row, seed = (int(number) for number in views_B3[int(np.argmin(has_values_B))])
        unit = Unit(kind, block, seed // cache.identity.seeds_per_group)
        raise damaged_unit(cache, unit, f"aug_seed {seed} has nothing in row {row}, where a good sample is")
