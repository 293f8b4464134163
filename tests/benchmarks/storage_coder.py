"""How small numbers could be: what Blosc makes of them, and what an ideal coder with simple static models would need.

The models are fitted to one half of the views and code the other, both ways round, so that no view pays for itself.
"""

from typing import Any

import numpy as np
from numcodecs import blosc  # type: ignore[attr-defined]
from numpy.typing import NDArray

from kdcache.store.head import Planes

__all__ = ["blosc_bytes", "floats_bytes", "head_bytes", "ids_bytes", "planes_bytes"]

_BACKOFF = 16.0


def blosc_bytes(planes_PN: Planes, *, level: int = 5) -> int:
    """Return the size of one chunk as the store compresses it."""
    return len(blosc.compress(np.ascontiguousarray(planes_PN), b"zstd", level, blosc.BITSHUFFLE))


def ids_bytes(ids_KM: NDArray[Any], num_classes: int) -> float:
    """Return bytes a view of K different class ids, best first, from how often each class is kept at all."""
    num_views = ids_KM.shape[1]
    bits = 0.0
    for coded, fitted in _halves(num_views):
        counts_C = 0.5 + np.bincount(ids_KM[:, fitted].astype(np.int64).ravel(), minlength=num_classes)
        weights_KM = counts_C[ids_KM[:, coded].astype(np.int64)]
        taken_KM = np.cumsum(weights_KM, axis=0) - weights_KM
        bits -= float(np.log2(weights_KM / (counts_C.sum() - taken_KM)).sum())
    return float(bits / 8 / num_views)


def planes_bytes(planes_PM: NDArray[Any]) -> float:
    """Return bytes a view of planes of numbers, each from its own histogram, smoothed by that of all planes."""
    if not len(planes_PM):
        return 0.0
    num_views = planes_PM.shape[1]
    symbols, ranks = np.unique(planes_PM, return_inverse=True)
    ranks_PM = ranks.reshape(planes_PM.shape)
    bits = 0.0
    for coded, fitted in _halves(num_views):
        pooled = 0.5 + np.bincount(ranks_PM[:, fitted].ravel(), minlength=len(symbols))
        pooled *= _BACKOFF / pooled.sum()
        for ranks_M in ranks_PM:
            own = pooled + np.bincount(ranks_M[fitted], minlength=len(symbols))
            bits -= float(np.log2(own[ranks_M[coded]] / own.sum()).sum())
    return float(bits / 8 / num_views)


def floats_bytes(halves_PM: NDArray[Any]) -> float:
    """Return bytes a view of float32 bits, high halves first: the low half of a float is noise."""
    return planes_bytes(halves_PM[0::2]) + 2.0 * len(halves_PM[1::2])


def head_bytes(head_6M: NDArray[Any]) -> float:
    """Return bytes a view of the head as one normal distribution: its planes say much the same."""
    signed_6M = head_6M.view(np.dtype(f"i{head_6M.dtype.itemsize}")).astype(np.float64)
    covariance = np.cov(signed_6M) + np.eye(len(signed_6M)) / 12  # rounding; keeps constant planes above zero
    _, log_determinant = np.linalg.slogdet(2 * np.pi * np.e * covariance)
    return float(log_determinant / np.log(2.0) / 2 / 8)


def _halves(num_views: int) -> list[tuple[slice, slice]]:
    even, odd = slice(0, None, 2), slice(1, None, 2)
    return [(even, odd), (odd, even)] if num_views > 1 else [(even, even)]
