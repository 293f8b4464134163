"""Ways to make a ``gap8`` cache smaller that were tried: what each would save, and what it would cost in truth.

The first ones only compress the same numbers otherwise; the others store other numbers, which format 1 does not allow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdcache.logits import TAIL_TEMPERATURES, TopKLogits, top_k
from kdcache.store.encoding import decode, encode
from kdcache.store.head import NUM_HEAD_PLANES, Planes
from tests.benchmarks.storage_coder import blosc_bytes
from tests.benchmarks.storage_formats import fidelity
from tests.benchmarks.storage_outputs import Outputs

__all__ = ["Try", "tries"]

_TAIL_AT_2_AND_4 = [-4, -3]


@dataclass(frozen=True, slots=True)
class Try:
    """One way, over all views.

    Attributes:
        what: what was done.
        k: kept classes.
        saved: bytes a view less than as stored.
        stored: bytes a view of the targets as stored.
        kl_of_exact: KL against the dense teacher by temperature, as a ratio to that of the exact cut.
    """

    what: str
    k: int
    saved: float
    stored: float
    kl_of_exact: dict[float, float]


@dataclass(frozen=True, slots=True)
class _Views:
    """A cut and its planes, all seeds side by side."""

    cut: TopKLogits
    planes_PM: Planes
    rows: int

    @property
    def k(self) -> int:
        return int(self.cut.logits_NK.shape[1])

    def read(self) -> TopKLogits:
        return decode(self.planes_PM, encoding="gap8", top_k=self.k, num_classes=self.cut.num_classes)

    def chunks(self, planes_PM: Planes, *, level: int = 5) -> int:
        spans = range(0, planes_PM.shape[1], self.rows)
        return sum(blosc_bytes(planes_PM[:, first : first + self.rows], level=level) for first in spans)


Way = Callable[[_Views], tuple[int, TopKLogits]]


def tries(outputs: Outputs, ks: Sequence[int]) -> list[Try]:
    """Try every way on a teacher's outputs."""
    found = []
    for k in ks:
        cut = top_k(outputs.logits_MC, k)
        views = _Views(cut, encode(cut, encoding="gap8", top_k=k), outputs.digests_VN.shape[1])
        stored, exact = views.chunks(views.planes_PM), _kl(outputs, cut)
        for what, way in _WAYS.items():
            size, read = way(views)
            kl = {t: value / exact[t] for t, value in _kl(outputs, read).items()}
            found.append(Try(what, k, (stored - size) / len(cut), stored / len(cut), kl))
    return found


def _kl(outputs: Outputs, cut: TopKLogits) -> dict[float, float]:
    return {t: fidelity(outputs, t, cut.to_dense_NC(t), cut.class_ids_NK).kl for t in TAIL_TEMPERATURES}


def _level_9(views: _Views) -> tuple[int, TopKLogits]:
    return views.chunks(views.planes_PM, level=9), views.read()


def _one_chunk(views: _Views) -> tuple[int, TopKLogits]:
    return blosc_bytes(views.planes_PM), views.read()


def _eighths(views: _Views) -> tuple[int, TopKLogits]:
    """Round cumulative distances to 1/8 nat instead of 1/16."""
    read, planes_PM = views.read(), views.planes_PM.copy()
    below_MK = views.cut.top1_N[:, None].astype(np.float64) - views.cut.logits_NK
    steps_MK = np.floor(below_MK * 8 + 0.5)
    planes_PM[views.k : -NUM_HEAD_PLANES] = np.diff(steps_MK, axis=1).T
    logits_MK = (read.top1_N[:, None] - steps_MK / 8).astype(np.float32)
    return views.chunks(planes_PM), replace(read, logits_NK=logits_MK)


def _coarse_head(views: _Views) -> tuple[int, TopKLogits]:
    """Store the head in 1/32 nat instead of 1/256."""
    read, planes_PM = views.read(), views.planes_PM.copy()
    head_6M = planes_PM[-NUM_HEAD_PLANES:].view(np.int16)
    head_6M[:] = np.floor(head_6M / 8 + 0.5)
    tail_M3 = np.round(read.tail_log_odds_N3 * 32) / np.float32(32)
    return views.chunks(planes_PM), replace(read, tail_log_odds_N3=tail_M3)


def _derived_tails(views: _Views) -> tuple[int, TopKLogits]:
    """Leave out the tail's log-odds at T = 2 and 4.

    With s = 1/T the log of the tail's sum is log n + s * mean + s^2/2 * variance + s^3/6 * c for the n classes of the
    tail: mean and variance are known from the head less the kept classes, and c from the log-odds at T = 1.
    """
    read = views.read()
    below_MK = (read.logits_NK - read.top1_N[:, None]).astype(np.float64)
    num_tail = read.num_classes - views.k
    mean_M = (read.num_classes * read.mean_N - below_MK.sum(axis=1)) / num_tail
    square_M = read.num_classes * (read.std_N**2 + read.mean_N**2) - (below_MK**2).sum(axis=1)
    variance_M = np.maximum(square_M / num_tail - mean_M**2, 0.0)
    kept_M = np.log(np.exp(below_MK).sum(axis=1))
    cubic_M = read.tail_log_odds_N3[:, 0] + kept_M - np.log(num_tail) - mean_M - variance_M / 2
    tail_M3 = read.tail_log_odds_N3.copy()
    for column, s in ((1, 0.5), (2, 0.25)):
        tail_M = np.log(num_tail) + s * mean_M + s**2 / 2 * variance_M + s**3 * cubic_M
        tail_M3[:, column] = tail_M - np.log(np.exp(below_MK * s).sum(axis=1))
    size = views.chunks(np.delete(views.planes_PM, _TAIL_AT_2_AND_4, axis=0))
    return size, replace(read, tail_log_odds_N3=tail_M3)


def _by_frequency(views: _Views) -> tuple[int, TopKLogits]:
    """Number the classes by how often they are kept; a cache would hold the table once."""
    planes_PM = views.planes_PM.copy()
    planes_PM[: views.k] = _ranks(views)[planes_PM[: views.k]]
    return views.chunks(planes_PM), views.read()


def _ranks(views: _Views) -> Planes:
    counts_C = np.bincount(views.planes_PM[: views.k].ravel(), minlength=views.cut.num_classes)
    ranks_C: Planes = np.empty(len(counts_C), dtype=np.uint16)
    ranks_C[np.argsort(-counts_C, kind="stable")] = np.arange(len(counts_C))
    return ranks_C


def _derived_and_by_frequency(views: _Views) -> tuple[int, TopKLogits]:
    planes_PM = views.planes_PM.copy()
    planes_PM[: views.k] = _ranks(views)[planes_PM[: views.k]]
    return views.chunks(np.delete(planes_PM, _TAIL_AT_2_AND_4, axis=0)), _derived_tails(views)[1]


_WAYS: dict[str, Way] = {
    "codec level 9 instead of 5": _level_9,
    "all seeds in one chunk": _one_chunk,
    "gaps of 1/8 nat": _eighths,
    "head in 1/32 nat": _coarse_head,
    "tails at T = 2 and 4 computed by the reader": _derived_tails,
    "classes numbered by frequency": _by_frequency,
    "the last two together": _derived_and_by_frequency,
}
