"""Cut, resize and pad: from a decoded image to the pixels of a view's window."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.views.params import Box, ViewParams
from kdcache.views.resample import resize

__all__ = ["cut_window"]

PaddingMode = Literal["constant", "edge", "reflect"]

_MAX_RESIZED_PIXELS = 2**24
"""Above this, only the window is resampled: 256 rows of a 1 x 5,000 image would be 1.3 GB of pixels."""


def cut_window(
    image: Image.Image, params: ViewParams, resampling: Image.Resampling, padding_mode: PaddingMode
) -> Image.Image:
    """Return the window of the resized source as an RGB image of the view's size."""
    source = _crop(image, params.source)
    left, top, right, bottom = params.window
    width, height = params.resized
    inside = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    piece = _resized_part(source, params.resized, inside, resampling)
    if inside == params.window:
        return piece
    if padding_mode == "constant":
        view = Image.new("RGB", (right - left, bottom - top))
        view.paste(piece, (inside[0] - left, inside[1] - top))
        return view
    rows = _inner_indices(top, bottom, height, padding_mode) - inside[1]
    columns = _inner_indices(left, right, width, padding_mode) - inside[0]
    return Image.fromarray(np.asarray(piece)[rows[:, None], columns])


def _resized_part(
    source: Image.Image, resized: tuple[int, int], part: Box, resampling: Image.Resampling
) -> Image.Image:
    if resized[0] * resized[1] <= _MAX_RESIZED_PIXELS:
        return _crop(resize(source, resized, resampling), part)
    scale_x, scale_y = source.size[0] / resized[0], source.size[1] / resized[1]
    box = (
        part[0] * scale_x,
        part[1] * scale_y,
        min(part[2] * scale_x, source.size[0]),
        min(part[3] * scale_y, source.size[1]),
    )
    return resize(source, (part[2] - part[0], part[3] - part[1]), resampling, box=box)


def _crop(image: Image.Image, box: Box) -> Image.Image:
    """Return the box of an image.

    The box goes to ``resize`` as a crop, not as its ``box``: that would let the filter see pixels beyond it.
    """
    if box == (0, 0, *image.size):
        return image
    size = (box[2] - box[0], box[3] - box[1])
    limit = Image.MAX_IMAGE_PIXELS
    if limit is None or size[0] * size[1] <= limit:
        return image.crop(box)
    # Pillow's crop warns of bombs above its own global limit; ours was checked before decoding.
    return image.transform(size, Image.Transform.EXTENT, box)


def _inner_indices(start: int, stop: int, length: int, mode: PaddingMode) -> NDArray[np.intp]:
    """Return which row (or column) of ``length`` stands in for each of start..stop."""
    indices = np.arange(start, stop)
    if mode == "edge" or length == 1:
        return np.clip(indices, 0, length - 1)
    period = 2 * (length - 1)
    folded: NDArray[np.intp] = (length - 1) - np.abs((length - 1) - indices % period)
    return folded
