"""How small numbers could be: what Blosc makes of them, and what an ideal coder with simple static models would need.

The models are fitted to one half of the views and code the other, both ways round, so that no view pays for itself.
"""

from typing import Any

import numpy as np
from numcodecs import blosc  # type: ignore[attr-defined]
from numpy.typing import NDArray

from kdcache.store.head import Planes

__all__ = ["blosc_bytes", "head_bytes", "ids_bytes", "planes_bytes"]

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
    num_views = planes_PM.shape[1]
    if not len(planes_PM):
        return 0.0
    symbols = int(planes_PM.max()) + 1
    bits = 0.0
    for coded, fitted in _halves(num_views):
        pooled = 0.5 + np.bincount(planes_PM[:, fitted].astype(np.int64).ravel(), minlength=symbols)
        pooled /= pooled.sum()
        for plane_M in planes_PM.astype(np.int64):
            own = np.bincount(plane_M[fitted], minlength=symbols) + _BACKOFF * pooled
            bits -= float(np.log2(own[plane_M[coded]] / own.sum()).sum())
    return float(bits / 8 / num_views)


def head_bytes(head_6M: NDArray[Any]) -> float:
    """Return bytes a view of the head as one normal distribution: its planes say much the same."""
    signed_6M = head_6M.view(np.dtype(f"i{head_6M.dtype.itemsize}")).astype(np.float64)
    covariance = np.cov(signed_6M) + np.eye(len(signed_6M)) / 12  # rounding; keeps constant planes above zero
    _, log_determinant = np.linalg.slogdet(2 * np.pi * np.e * covariance)
    return float(log_determinant / np.log(2.0) / 2 / 8)


def _halves(num_views: int) -> list[tuple[slice, slice]]:
    even, odd = slice(0, None, 2), slice(1, None, 2)
    return [(even, odd), (odd, even)] if num_views > 1 else [(even, even)]
