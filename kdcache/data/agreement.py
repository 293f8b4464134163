"""What a teacher says now against what is stored of it: top-1, KL, and how large that may be.

The bound. Let the logits of two distributions differ by at most e, up to a shift. Then their KL divergence is
at most e^2 / 2 (Hoeffding's lemma for a variable whose range is 2e). The outcomes are the kept classes and, as
one more, the tail; e is the sum of what the encoding states and of what arithmetic may differ by:

- ``gap8``: 1/32 nat for a kept class, and 1/128 for the tail's log-odds;
- ``dense8``: half a step of the view at hand, (largest - smallest logit) / 508;
- ``float32``: 0; ``hard``: 1/128 for the tail's log-odds;
- arithmetic, for another batch size, thread count or device: 1/64 nat in float32, 1/8 in half precision.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import ManifestMismatchError
from kdcache.logits import TopKLogits
from kdcache.store.manifest import TeacherIdentity

__all__ = ["Agreement", "AgreementReport", "agreement"]

Float64 = NDArray[np.float64]

_ARITHMETIC: Final = {"float32": 1 / 64, "bfloat16": 1 / 8, "float16": 1 / 8}
_HALF_STEPS = 508
_ROUNDING = 1e-6
"""Of float32 sums; and of ``gap8``'s saturated gaps, which concern classes some 16 nats below another."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One view: what the teacher says now against what is stored.

    Attributes:
        kl: KL(now || stored) at T = 1.
        bound: what it may be.
        is_top1_equal: whether both put the same class first.
        is_top1_tie: whether they don't, but the two classes are within the stated error of each other.
    """

    kl: float
    bound: float
    is_top1_equal: bool
    is_top1_tie: bool = False

    @property
    def is_within(self) -> bool:
        """True when nothing differs by more than is stated."""
        return self.kl <= self.bound and (self.is_top1_equal or self.is_top1_tie)


@dataclass(slots=True)
class AgreementReport:
    """How far a teacher and its stored targets agree.

    Attributes:
        ties: views whose best class differs, but by less than the stated error.
        beyond: views that differ by more than the stated error.
        worst: sample and seed of the largest KL.
    """

    teacher: str
    encoding: str
    views: int = 0
    top1_equal: int = 0
    ties: int = 0
    beyond: int = 0
    drifted: int = 0
    mean_kl: float = 0.0
    worst_kl: float = 0.0
    worst_bound: float = 0.0
    worst: str = ""

    def add(self, found: Agreement, view: str) -> None:
        """Count one view."""
        self.views += 1
        self.top1_equal += found.is_top1_equal
        self.ties += found.is_top1_tie
        self.beyond += not found.is_within
        self.mean_kl += (found.kl - self.mean_kl) / self.views
        if not self.worst or found.kl > self.worst_kl:
            self.worst_kl, self.worst_bound, self.worst = found.kl, found.bound, view

    def summary(self) -> str:
        """Return the report in a few words."""
        ties = f" ({self.ties:,} more are ties)" if self.ties else ""
        drifted = f", {self.drifted:,} of them in another decoder's rounding" if self.drifted else ""
        return (
            f"{self.views:,} views shown to teacher {self.teacher} again{drifted}: top-1 agrees on "
            f"{self.top1_equal / max(self.views, 1):.2%}{ties}; KL(now || stored) at T = 1 is {self.mean_kl:.2g} on "
            f"average and {self.worst_kl:.2g} at worst ({self.worst}), where {self.encoding} allows "
            f"{self.worst_bound:.2g}"
        )

    def demand_agreement(self, url: str) -> None:
        """Refuse targets that differ from the teacher by more than the encoding states.

        Raises:
            ManifestMismatchError: some do.
        """
        if self.beyond:
            raise ManifestMismatchError(
                f"{self.beyond:,} of {self.views:,} views have other targets in {url} than the teacher gives now, by "
                f"more than {self.encoding} states. {self.summary()}. The weights are the cache's, so the "
                "network's code, its arithmetic or the stored targets differ: compare the versions in kdcache "
                "info, or precompute again"
            )


def agreement(logits_C: Float64, stored: TopKLogits, entry: TeacherIdentity) -> Agreement:
    """Compare a teacher's logits of one view with its stored targets.

    Args:
        logits_C: all classes, float64.
        stored: one row.
        entry: the teacher as the cache describes it: encoding and precision decide the bound.
    """
    error = _encoding_error(stored, entry) + _ARITHMETIC[entry.precision]
    ids_K = np.arange(len(logits_C)) if stored.class_ids_NK is None else stored.class_ids_NK[0]
    stored_K = stored.logits_NK[0].astype(np.float64)
    is_class_K = np.isfinite(stored_K)
    ids_K, stored_K = ids_K[is_class_K], stored_K[is_class_K]
    best_now, best_stored = int(logits_C.argmax()), int(ids_K[stored_K.argmax()])
    gap = float(logits_C[best_now] - logits_C[best_stored])
    return Agreement(
        kl=_kl(_outcomes_now(logits_C, ids_K), _outcomes_stored(stored_K, stored)),
        bound=error**2 / 2 + _ROUNDING,
        is_top1_equal=best_now == best_stored,
        is_top1_tie=best_now != best_stored and gap <= 2 * error,
    )


def _encoding_error(stored: TopKLogits, entry: TeacherIdentity) -> float:
    if entry.encoding == "dense8":
        finite_C = stored.logits_NK[0][np.isfinite(stored.logits_NK[0])]
        return float(finite_C.max() - finite_C.min()) / _HALF_STEPS
    return {"gap8": 1 / 32 + 1 / 128, "hard": 1 / 128, "float32": 0.0}[entry.encoding]


def _outcomes_now(logits_C: Float64, ids_K: NDArray[np.int64]) -> Float64:
    """Return log-probabilities of the kept classes and, last, of all others together."""
    log_probs_C = logits_C - _log_sum_exp(logits_C)
    others = np.delete(log_probs_C, ids_K)
    return np.append(log_probs_C[ids_K], _log_sum_exp(others))


def _outcomes_stored(stored_K: Float64, stored: TopKLogits) -> Float64:
    log_odds = -np.inf if stored.class_ids_NK is None else float(stored.tail_N5[0, 1])
    log_kept, log_tail = -np.logaddexp(0.0, log_odds), -np.logaddexp(0.0, -log_odds)
    return np.append(stored_K - _log_sum_exp(stored_K) + log_kept, log_tail)


def _log_sum_exp(values_C: Float64) -> float:
    largest = values_C.max(initial=-np.inf)
    return float(largest + np.log(np.exp(values_C - largest).sum())) if np.isfinite(largest) else -np.inf


def _kl(log_p_K: Float64, log_q_K: Float64) -> float:
    """Return KL(p || q); infinite where q rules out what p does not."""
    is_possible_K = log_p_K > -np.inf
    log_p_K, log_q_K = log_p_K[is_possible_K], log_q_K[is_possible_K]
    return max(0.0, float((np.exp(log_p_K) * (log_p_K - log_q_K)).sum()))
