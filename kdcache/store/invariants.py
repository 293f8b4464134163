"""What every stored view must fulfil, checked in full by the writer and by ``kdcache verify``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError
from kdcache.store.encoding import decode
from kdcache.store.features import decode_features
from kdcache.store.head import NUM_HEAD_PLANES, Planes
from kdcache.store.manifest import TeacherIdentity

__all__ = ["check_planes", "has_targets"]

Rows = NDArray[np.bool_]


def has_targets(planes_PN: Planes) -> Rows:
    """Return which of the N rows have targets."""
    rows_N: Rows = planes_PN[0] != np.iinfo(planes_PN.dtype).max
    return rows_N


def check_planes(planes_PN: Planes, teacher: TeacherIdentity) -> None:
    """Check all that holds for the planes (P, N) of one augmentation seed.

    Raises:
        CorruptChunkError: naming the first row and what is wrong with it.
    """
    is_embedding = teacher.features_of is not None
    if is_embedding:
        decode_features(planes_PN, num_features=teacher.top_k)
    else:
        decode(planes_PN, encoding=teacher.encoding, top_k=teacher.top_k, num_classes=teacher.num_classes)
    rows_N = has_targets(planes_PN)
    fill = np.iinfo(planes_PN.dtype).max
    _demand(
        rows_N | (planes_PN == fill).all(axis=0), "a row without targets has a plane that is not the fill"
    )
    columns = np.flatnonzero(rows_N)
    good_PN = planes_PN[:, columns]
    if is_embedding:
        _demand(np.isfinite(good_PN.view(np.float16)).all(axis=0), "a feature is NaN or infinite", columns)
        return
    body_PN, head_6N = good_PN[:-NUM_HEAD_PLANES], good_PN[-NUM_HEAD_PLANES:]
    _CHECKS[teacher.encoding](body_PN, columns)
    _check_head(head_6N, teacher, columns)


def _demand(is_right_N: Any, problem: str, columns: NDArray[np.int64] | None = None) -> None:
    if not is_right_N.all():
        row = int(np.flatnonzero(~is_right_N)[0])
        raise CorruptChunkError(f"row {row if columns is None else int(columns[row])}: {problem}")


def _check_gap8(body_PN: Planes, columns: NDArray[np.int64]) -> None:
    ids_KN, gaps_KN = np.split(body_PN, [(len(body_PN) + 1) // 2])
    is_missing_KN = ids_KN == np.iinfo(ids_KN.dtype).max
    _demand(~(is_missing_KN[:-1] & ~is_missing_KN[1:]).any(axis=0), "a class follows a missing one", columns)
    _demand(((gaps_KN == 255) == is_missing_KN[1:]).all(axis=0), "a gap of 255 has a class", columns)
    ordered_KN = np.sort(ids_KN, axis=0)
    is_repeated_KN = (ordered_KN[1:] == ordered_KN[:-1]) & (ordered_KN[1:] != np.iinfo(ids_KN.dtype).max)
    _demand(~is_repeated_KN.any(axis=0), "a class id is there twice", columns)


def _check_dense8(body_PN: Planes, columns: NDArray[np.int64]) -> None:
    steps_CN = body_PN[:-2]
    _demand((steps_CN <= 255).all(axis=0), "a class has more than 255 steps", columns)
    _demand((steps_CN == 0).any(axis=0), "no class is the best", columns)
    step_N = ((body_PN[-2].astype(np.uint32) << 16) | body_PN[-1]).view(np.float32)
    _demand(np.isfinite(step_N) & (step_N >= 0), "the step is not a finite number", columns)


def _check_float32(body_PN: Planes, columns: NDArray[np.int64]) -> None:
    logits_CN = ((body_PN[0::2].astype(np.uint32) << 16) | body_PN[1::2]).view(np.float32)
    _demand(~(np.isnan(logits_CN) | np.isposinf(logits_CN)).any(axis=0), "a logit is NaN or +inf", columns)
    _demand(np.isfinite(logits_CN).any(axis=0), "no logit is finite", columns)


def _check_head(head_6N: Planes, teacher: TeacherIdentity, columns: NDArray[np.int64]) -> None:
    signed_6N = head_6N.view(np.dtype(f"i{head_6N.dtype.itemsize}"))
    is_tail_plane_6 = np.array([False, True, True, True, False, False])
    lowest_6 = np.where(is_tail_plane_6, -32_768, -32_767)[:, None]
    _demand(
        ((signed_6N >= lowest_6) & (signed_6N <= 32_767)).all(axis=0), "a head value is out of range", columns
    )
    _demand(signed_6N[4] <= 0, "the mean logit is above the best one", columns)
    _demand(signed_6N[5] >= 0, "the standard deviation is negative", columns)
    if teacher.encoding in {"dense8", "float32"}:
        _demand((signed_6N[1:4] == -32_768).all(axis=0), "all classes are kept, yet there is a tail", columns)


_CHECKS: dict[str, Callable[[Planes, NDArray[np.int64]], None]] = {
    "gap8": _check_gap8,
    "hard": _check_gap8,
    "dense8": _check_dense8,
    "float32": _check_float32,
}
