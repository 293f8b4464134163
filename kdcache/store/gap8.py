"""``gap8``: K class ids, best first, and the K - 1 gaps between their logits in steps of 1/16 nat."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Float32, Int32, TopKLogits
from kdcache.store.head import Planes
from kdcache.store.rows import demand_rows

__all__ = ["count_saturated", "decode_gap8", "encode_gap8"]

_GAPS_PER_NAT: Final = 16
_LARGEST_GAP: Final = 254
_NO_CLASS: Final = 255
_FEW_CLASSES: Final = 32
"""Up to here, comparing all with all is quicker than sorting."""


def encode_gap8(cut: TopKLogits, body_PN: Planes, top_k: int) -> None:
    """Fill the planes of ids and gaps."""
    class_ids_NK = np.asarray(cut.class_ids_NK)
    if _are_near(cut):
        body_PN[:top_k], body_PN[top_k:] = class_ids_NK.T, _near_gaps(cut)
        return
    body_PN[:top_k] = np.where(class_ids_NK >= 0, class_ids_NK, np.iinfo(body_PN.dtype).max).T
    gaps_NK = np.diff(_cumulative_steps(cut)[1], axis=1)
    body_PN[top_k:] = np.where(class_ids_NK[:, 1:] >= 0, gaps_NK, _NO_CLASS).T


def count_saturated(cut: TopKLogits) -> int:
    """Count the views in which ``gap8`` must shorten a gap because it exceeds 254/16 nat."""
    if _are_near(cut):
        return 0
    wanted_NK, stored_NK = _cumulative_steps(cut)
    is_class_NK = np.isfinite(cut.logits_NK)
    return int(((wanted_NK != stored_NK) & is_class_NK).any(axis=1).sum())


def _are_near(cut: TopKLogits) -> bool:
    """Tell whether there are K classes in every row, and no gap that must be shortened: almost always."""
    nearest = (_LARGEST_GAP - 2) / _GAPS_PER_NAT
    if (cut.top1_N - cut.logits_NK[:, -1] < nearest).all():  # so is every gap, and no row is without targets
        return True
    with np.errstate(invalid="ignore"):  # missing classes are infinitely far from each other
        gaps_NK = cut.logits_NK[:, :-1] - cut.logits_NK[:, 1:]
    return bool(cut.valid_N.all() and (gaps_NK < nearest).all())


def _near_gaps(cut: TopKLogits) -> NDArray[np.float64]:
    """Return what ``_cumulative_steps`` comes to where no gap must be shortened, for less: (K - 1, N)."""
    steps_KN = cut.top1_N.astype(np.float64) - cut.logits_NK.T
    steps_KN *= _GAPS_PER_NAT
    steps_KN += 0.5
    np.floor(steps_KN, out=steps_KN)
    steps_KN[0] = 0.0
    return steps_KN[1:] - steps_KN[:-1]


def decode_gap8(
    body_PN: Planes, top1_N: Float32, is_bad_N: NDArray[np.bool_], num_classes: int
) -> tuple[Int32, Float32]:
    """Return class ids and logits (N, K), -1 and -inf where there is no class.

    Raises:
        CorruptChunkError: they are not what ``encode_gap8`` writes.
    """
    ids_KN, gaps_KN = np.split(body_PN, [(len(body_PN) + 1) // 2])
    class_ids_KN = _padded(ids_KN.shape, np.int32)
    class_ids_KN[:] = ids_KN
    class_ids_NK, logits_NK = np.ascontiguousarray(class_ids_KN.T), _logits(gaps_KN, top1_N)
    num_good = _num_good(is_bad_N)
    class_ids_NK[num_good:], logits_NK[num_good:] = -1, -np.inf
    good_KN, steps_KN = ids_KN[:, :num_good], gaps_KN[:, :num_good]
    if int(good_KN.max(initial=0)) >= num_classes or int(steps_KN.max(initial=0)) > _LARGEST_GAP:
        is_missing_KN = good_KN == np.iinfo(ids_KN.dtype).max
        _check_missing(good_KN, steps_KN, is_missing_KN, num_classes)
        class_ids_NK[:num_good][is_missing_KN.T], logits_NK[:num_good][is_missing_KN.T] = -1, -np.inf
    _check_distinct(good_KN, class_ids_NK[:num_good])
    return class_ids_NK, logits_NK


def _cumulative_steps(cut: TopKLogits) -> tuple[Planes, Planes]:
    """Return the wanted and the stored distances to the top-1 in gap steps, int64 (N, K).

    The stored distance follows the wanted one as fast as 254 steps per class allow, which is what rounding
    each gap against the reconstructed class before it comes to.
    """
    below_NK = cut.top1_N[:, None].astype(np.float64) - cut.logits_NK
    is_class_NK = np.isfinite(below_NK)
    wanted_NK = np.floor(np.where(is_class_NK, below_NK, 0.0) * _GAPS_PER_NAT + 0.5).astype(np.int64)
    wanted_NK[:, 0] = 0
    reach_K = _LARGEST_GAP * np.arange(wanted_NK.shape[1], dtype=np.int64)
    stored_NK = np.minimum.accumulate(wanted_NK - reach_K, axis=1) + reach_K
    return wanted_NK, stored_NK


def _logits(gaps_KN: Planes, top1_N: Float32) -> Float32:
    """Return the logits (N, K) of K - 1 gaps."""
    logits_KN = _padded((len(gaps_KN) + 1, len(top1_N)), np.float32)
    logits_KN[0], logits_KN[1:] = top1_N, gaps_KN
    logits_KN[1:] *= np.float32(1.0 / _GAPS_PER_NAT)
    # Ten times as fast as np.subtract.accumulate, which walks down the columns.
    for before_N, after_N in pairwise(logits_KN):
        np.subtract(before_N, after_N, out=after_N)
    return np.ascontiguousarray(logits_KN.T)


def _padded(shape: tuple[int, int], dtype: Any) -> Planes:
    """Return an empty (K, N) whose rows lie 16 items further apart than they must.

    Blocks have 1,024 or 4,096 rows; at strides of such powers of two every item of a column falls into the
    same cache lines, and the transposition takes five times as long.
    """
    return np.empty((shape[0], shape[1] + 16), dtype=dtype)[:, : shape[1]]


def _num_good(is_bad_N: NDArray[np.bool_]) -> int:
    """Return how many rows come before those at the end without targets: padding, which is all the same."""
    return 0 if is_bad_N.all() else len(is_bad_N) - int(np.argmin(is_bad_N[::-1]))


def _check_missing(ids_KN: Planes, gaps_KN: Planes, is_missing_KN: Planes, num_classes: int) -> None:
    """Check ids and gaps where some rows have fewer than K classes."""
    is_bad_N = is_missing_KN[0]
    is_id_KN = (ids_KN < num_classes) | is_missing_KN
    demand_rows(is_id_KN.all(axis=0), f"a class id is not below {num_classes}")
    is_gap_KN = (gaps_KN <= _LARGEST_GAP) | is_missing_KN[1:]
    demand_rows(is_gap_KN.all(axis=0), f"a gap is above {_LARGEST_GAP}")
    demand_rows(
        ~(is_missing_KN[:-1] & ~is_missing_KN[1:]).any(axis=0) | is_bad_N, "a class follows a missing one"
    )
    is_marked_KN = (gaps_KN == _NO_CLASS) == is_missing_KN[1:]
    demand_rows(is_marked_KN.all(axis=0) | is_bad_N, f"a gap of {_NO_CLASS} has a class")


def _check_distinct(ids_KN: Planes, class_ids_NK: Planes) -> None:
    lags = range(1, len(ids_KN))
    if len(ids_KN) <= _FEW_CLASSES and not any((ids_KN[lag:] == ids_KN[:-lag]).any() for lag in lags):
        return
    # NumPy sorts rows of int32 by SIMD: uint16 columns would take ten times as long.
    ordered_NK = np.sort(class_ids_NK, axis=1)
    # In one line first, which is quicker; there the end of a row may equal the beginning of the next.
    ordered = ordered_NK.ravel()
    if (ordered[1:] == ordered[:-1]).any():
        is_twice_NK = (ordered_NK[:, 1:] == ordered_NK[:, :-1]) & (ordered_NK[:, 1:] >= 0)
        demand_rows(~is_twice_NK.any(axis=1), "a class id is there twice")
