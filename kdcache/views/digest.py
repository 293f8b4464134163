"""The digest and the thumbnail by which a view is recognised."""

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from kdcache.views.resample import resize

__all__ = ["thumbnail", "thumbnails_agree", "view_digest"]

THUMBNAIL_SIZE = 8

_DECODER_ROUNDING = 3
"""Decoders of one JPEG differ by a level or two per pixel, and less in the mean of a patch."""


def view_digest(view_3HW: NDArray[np.uint8]) -> int:
    """Return the digest of a view: the low 24 bits of xxh3_64 over its bytes; 0 becomes 1.

    It tells accidents: another view passes one check in 16.8 million, and a wrong policy, picture or decoder shows in
    every view. More bits would be the part of a small cache that no codec shrinks.

    Args:
        view_3HW: uint8 (3, H, W), C-contiguous.

    >>> view_digest(np.zeros((3, 2, 2), np.uint8))
    12756208
    """
    return (xxhash.xxh3_64_intdigest(view_3HW.data) & 0xFFFFFF) or 1


def thumbnail(view_3HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of an 8 x 8 grid of patches as uint8 (8, 8, 3), computed by Pillow's box filter."""
    image = Image.merge("RGB", [Image.fromarray(plane_HW) for plane_HW in view_3HW])
    return np.asarray(resize(image, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX))


def thumbnails_agree(one_883: NDArray[np.uint8], other_883: NDArray[np.uint8]) -> bool:
    """Return whether two views with unequal digests are one view that two decoders rounded differently."""
    difference = np.abs(one_883.astype(np.int16) - other_883.astype(np.int16))
    return bool(difference.max() <= _DECODER_ROUNDING)
