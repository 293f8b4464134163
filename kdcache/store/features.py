"""Embeddings to integer planes and back: ``features16``.

Plane d of a view is the float16 bits of feature d; there is no head. All bits set is a NaN, and marks a row
without features.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError
from kdcache.logits import Float32
from kdcache.store.head import Planes
from kdcache.store.rows import demand_rows

__all__ = ["LARGEST_FEATURE", "Float16", "decode_features", "encode_features"]

Float16 = NDArray[np.float16]

LARGEST_FEATURE: Final = float(np.finfo(np.float16).max)
"""What float16 ends at; anything larger is refused, not cut off."""

_PLANES_AT_ONCE = 32
_WITHOUT_SIGN: Final = np.uint16(0x7FFF)
_INFINITY: Final = np.uint16(0x7C00)
_NO_FEATURE: Final = np.uint16(0xFFFF)


def encode_features(features_ND: Float32) -> Planes:
    """Return the planes (D, N) of N embeddings, rounded to float16.

    Raises:
        ValueError: one is NaN, or larger than ``LARGEST_FEATURE``.
    """
    if not (np.abs(features_ND) <= LARGEST_FEATURE).all():
        raise ValueError(f"a feature is NaN, or not within +-{LARGEST_FEATURE:g}")
    return np.ascontiguousarray(features_ND.T.astype(np.float16)).view(np.uint16)


def decode_features(planes_DN: Planes, *, num_features: int) -> Float16:
    """Return float16 features (N, D) from planes (D, N); NaN in rows without any.

    Raises:
        CorruptChunkError: the planes are not those of ``num_features``, or a feature is NaN or infinite.
    """
    if len(planes_DN) != num_features or planes_DN.dtype != np.uint16:
        raise CorruptChunkError(
            f"a view has {len(planes_DN)} planes of {planes_DN.dtype}, {num_features} features have as many of "
            "uint16; the chunk is damaged: run kdcache verify"
        )
    # Without their sign, the bits of NaN and infinity are the largest of all.
    largest_N = np.bitwise_and(planes_DN, _WITHOUT_SIGN).max(axis=0)
    demand_rows((largest_N < _INFINITY) | (planes_DN[0] == _NO_FEATURE), "a feature is NaN or infinite")
    features_ND = np.empty((planes_DN.shape[1], num_features), dtype=np.float16)
    # In one go it takes up to six times as long: see ``encoding._padded_rows``.
    for first in range(0, num_features, _PLANES_AT_ONCE):
        part_DN = planes_DN[first : first + _PLANES_AT_ONCE]
        features_ND[:, first : first + len(part_DN)] = part_DN.view(np.float16).T
    return features_ND
