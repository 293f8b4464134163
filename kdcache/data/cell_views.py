"""The views of one cell: a sample on its own, or the pair that a mixing policy makes of two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.views import render_views
from kdcache.views.mix import MixParams, mix_pair, mix_params

__all__ = ["CellViews", "render_cell"]


@dataclass(frozen=True, slots=True)
class CellViews:
    """The final pixels of a cell under some seeds.

    Attributes:
        views_NS3HW: uint8, N samples (one or two) under S seeds.
        mixes: how the two are mixed under each seed; unmixed where there is one.
    """

    views_NS3HW: NDArray[np.uint8]
    mixes: tuple[MixParams, ...]


def render_cell(
    keys: Sequence[str], images: Sequence[Image.Image], aug_seeds: Sequence[int], policy: ViewPolicy
) -> CellViews:
    """Render one or two decoded samples under every seed; two are mixed with each other.

    Args:
        keys: of the samples, the one that comes first in its shard first.
        images: as ``decode_for`` returns them.
        aug_seeds: seeds under which these samples are a cell.
        policy: the view policy.
    """
    views_NS3HW = np.stack(
        [render_views(key, image, aug_seeds, policy) for key, image in zip(keys, images, strict=True)]
    )
    if len(keys) == 1:
        return CellViews(views_NS3HW, tuple(MixParams() for _ in aug_seeds))
    mixes = tuple(mix_params(keys[0], aug_seed, policy) for aug_seed in aug_seeds)
    for place, params in enumerate(mixes):
        mix_pair(views_NS3HW[0, place], views_NS3HW[1, place], params)
    return CellViews(views_NS3HW, mixes)
