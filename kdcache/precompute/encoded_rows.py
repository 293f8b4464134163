"""What a teacher says of some views, as the cache stores it: or what is wrong with it."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Float32, TopKLogits
from kdcache.store.encoding import encode
from kdcache.store.features import LARGEST_FEATURE, encode_features
from kdcache.store.gap8 import count_saturated
from kdcache.store.head import Planes
from kdcache.store.manifest import TeacherIdentity

__all__ = ["Complaint", "EncodedRows", "complaint_about"]

_OVERFLOW: Final = (
    "float16 overflows: try --precision bfloat16 or float32; else look at the weights and the normalisation"
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why outputs cannot be stored.

    Attributes:
        rows_B: numbers of the views concerned.
        problem: what the teacher returned.
        remedy: what to do about it.
    """

    rows_B: NDArray[np.intp]
    problem: str
    remedy: str


def complaint_about(values: TopKLogits | Float32, is_ok_B: NDArray[np.bool_]) -> Complaint | None:
    """Look for logits or features that are no numbers, among the views that count."""
    if isinstance(values, TopKLogits):
        # NaN and +inf show in the top-1, and so does a row of -inf alone.
        bad_B = np.flatnonzero(is_ok_B & ~np.isfinite(values.top1_N))
        return Complaint(bad_B, "NaN, +inf or no finite logit", _OVERFLOW) if len(bad_B) else None
    largest_B = np.abs(values).max(axis=1)
    bad_B = np.flatnonzero(is_ok_B & ~np.isfinite(largest_B))
    if len(bad_B):
        return Complaint(bad_B, "NaN or infinite features", _OVERFLOW)
    bad_B = np.flatnonzero(is_ok_B & (largest_B > LARGEST_FEATURE))
    if not len(bad_B):
        return None
    return Complaint(
        bad_B,
        f"a feature of +-{largest_B[bad_B[0]]:g}",
        f"Features are stored in float16, which ends at {LARGEST_FEATURE:,.0f}: leave out --store-features "
        "(features: true) for this teacher",
    )


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The views that count, as planes.

    Attributes:
        planes_PB: one column a view.
        best_B: the class that each view has first; None for an embedding.
        saturated: see ``kdcache.store.gap8.count_saturated``.
    """

    planes_PB: Planes
    best_B: NDArray[Any] | None = None
    saturated: int = 0

    @classmethod
    def of(cls, values: TopKLogits | Float32, is_ok_B: NDArray[np.bool_], entry: TeacherIdentity) -> Self:
        """Encode what there is no complaint about."""
        if not isinstance(values, TopKLogits):
            return cls(encode_features(values[is_ok_B]))
        good = values if is_ok_B.all() else values.take(is_ok_B)
        return cls(
            encode(good, encoding=entry.encoding, top_k=entry.top_k),
            _best_class(good),
            count_saturated(good) if entry.encoding == "gap8" else 0,
        )


def _best_class(cut: TopKLogits) -> NDArray[Any]:
    if cut.class_ids_NK is None:
        return np.asarray(np.argmax(cut.logits_NK, axis=1))
    return cut.class_ids_NK[:, 0]
