"""From an image and parameters to pixels: the one code path of both stages."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.keys import ViewKey, view_rng
from kdcache.views.draw import draw
from kdcache.views.erasing import erase
from kdcache.views.ops import Surroundings, apply_op
from kdcache.views.params import ViewParams
from kdcache.views.window import cut_window

__all__ = ["render", "render_views"]

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_BLACK = (0, 0, 0)


def render(image: Image.Image, params: ViewParams, policy: ViewPolicy) -> NDArray[np.uint8]:
    """Return the view as uint8 (3, H, W), C-contiguous.

    Args:
        image: RGB, as ``decode_image`` returns it; it is not changed.
        params: drawn under the same policy for an image of this size.
        policy: says how to interpolate, pad and fill.
    """
    view_3HW = np.empty((3, policy.height, policy.width), np.uint8)
    _render_into(view_3HW, image, params, policy)
    return view_3HW


def render_views(
    key: str,
    image: Image.Image,
    aug_seeds: Sequence[int],
    policy: ViewPolicy,
    *,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the views of one decoded sample as uint8 (len(aug_seeds), 3, H, W), before any mixing.

    They are written to ``out`` where it is given: into their places in a batch, without a copy.
    """
    views_V3HW = np.empty((len(aug_seeds), 3, policy.height, policy.width), np.uint8) if out is None else out
    for view_3HW, aug_seed in zip(views_V3HW, aug_seeds, strict=True):
        params = draw(policy, view_rng(ViewKey(key, aug_seed)), image.size)
        _render_into(view_3HW, image, params, policy)
    return views_V3HW


def _render_into(
    out_3HW: NDArray[np.uint8], image: Image.Image, params: ViewParams, policy: ViewPolicy
) -> None:
    view = cut_window(image, params, _RESAMPLING[policy.interpolation], policy.padding_mode)
    if params.flip:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    surroundings = _surroundings(policy)
    for call in params.ops:
        view = apply_op(view, call, surroundings)
    np.copyto(out_3HW, np.asarray(view).transpose(2, 0, 1))
    if params.erase and policy.erasing is not None:
        erase(out_3HW, params, policy.erasing)


def _surroundings(policy: ViewPolicy) -> Surroundings:
    fill = _BLACK if policy.rand_augment is None else policy.rand_augment.fill
    # Pillow's affine transforms know no Lanczos filter.
    smooth = policy.interpolation != "bilinear"
    return Surroundings(fill, Image.Resampling.BICUBIC if smooth else Image.Resampling.BILINEAR)
