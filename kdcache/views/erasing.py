"""Random erasing: which rectangles of a view are replaced, and what by."""

import functools
import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kdcache.config.views import Erasing
from kdcache.keys import ViewRandom, Words
from kdcache.views.params import Box, Stream, ViewParams

__all__ = ["draw_erasing", "erase", "noise_table"]

_ATTEMPTS = 10


def draw_erasing(section: Erasing, rng: ViewRandom, view_size: tuple[int, int]) -> tuple[Box, ...]:
    """Draw the rectangles of a view of (width, height), as timm's ``RandomErasing`` does.

    Words: whether, how many, then per rectangle up to ten pairs of area and aspect, top, left.
    """
    words = rng.words(Stream.ERASING, 2 + section.max_count * (2 * _ATTEMPTS + 2))
    if words.uniform() >= section.prob:
        return ()
    count = 1 + words.integer(section.max_count)
    boxes = (_draw_box(section, words, view_size, count) for _ in range(count))
    return tuple(box for box in boxes if box is not None)


def _draw_box(section: Erasing, words: Words, view_size: tuple[int, int], count: int) -> Box | None:
    width, height = view_size
    log_aspect = math.log(section.min_aspect)
    for _ in range(_ATTEMPTS):
        area = words.uniform(*section.area) * (width * height) / count
        aspect = math.exp(words.uniform(log_aspect, -log_aspect))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w < width and 0 < h < height:
            top = words.integer(height - h + 1)
            left = words.integer(width - w + 1)
            return left, top, left + w, top + h
    return None


def erase(view_3HW: NDArray[np.uint8], params: ViewParams, section: Erasing) -> None:
    """Replace the rectangles of ``params`` in place."""
    if section.mode == "const":
        for left, top, right, bottom in params.erase:
            view_3HW[:, top:bottom, left:right] = np.array(section.mean, np.uint8)[:, None, None]
        return
    noise = _noise_bytes(params)
    table_3L = noise_table(section.mean, section.std)
    start = 0
    for left, top, right, bottom in params.erase:
        size = (bottom - top) * (right - left)
        for channel in range(3):
            levels = noise[start : start + size]
            view_3HW[channel, top:bottom, left:right] = table_3L[channel][levels].reshape(bottom - top, -1)
            start += size


def _noise_bytes(params: ViewParams) -> NDArray[np.uint8]:
    """Return the bytes of the noise stream (little-endian words), one a value: box by box, planes first."""
    count = sum(3 * (right - left) * (bottom - top) for left, top, right, bottom in params.erase)
    words = ViewRandom(params.noise_key).raw(Stream.ERASING_NOISE, -(-count // 8))
    return words.astype("<u8").view(np.uint8)


@functools.lru_cache(maxsize=16)
def noise_table(mean: tuple[int, int, int], std: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return the value of each random byte per channel, (3, 256): quantiles of a normal, clipped to bytes.

    Byte b stands for the quantile (b + 1/2) / 256, so the noise has the stated mean and deviation up to the
    clipping, and costs one look-up a value.
    """
    quantiles = np.array([NormalDist().inv_cdf((byte + 0.5) / 256.0) for byte in range(256)])
    values_3L = np.array(mean)[:, None] + np.array(std)[:, None] * quantiles
    table_3L: NDArray[np.uint8] = np.clip(np.floor(values_3L + 0.5), 0, 255).astype(np.uint8)
    table_3L.flags.writeable = False
    return table_3L
