"""How far two stored answers about the same views are apart: KL at T = 1, and whether they agree on the best class."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import TopKLogits

__all__ = ["Float64", "divergences", "log_sum_exp"]

_CELLS_AT_ONCE: Final = 1 << 22
_FLOOR: Final = 1e-12

Float64 = NDArray[np.float64]


def divergences(ours: TopKLogits, theirs: TopKLogits) -> tuple[Float64, NDArray[np.bool_]]:
    """Return KL(ours || theirs) of each row in nats, and whether both have the same best class.

    Outcomes are the classes that both keep and, as one more, all others; so it is what the two are known to
    differ by, whatever encodings and K they have. Probabilities below 1e-12 count as that. Every row must
    have targets in both.
    """
    step = max(1, _CELLS_AT_ONCE // ours.num_classes)
    parts = [
        _kl(ours.take(slice(start, start + step)), theirs.take(slice(start, start + step)))
        for start in range(0, len(ours), step)
    ]
    return np.concatenate([np.zeros(0), *parts]), _best(ours) == _best(theirs)


def log_sum_exp(values_NK: Float64) -> Float64:
    """Return log(sum(exp)) of each row; -inf where there is nothing to sum up."""
    largest_N = values_NK.max(axis=1, initial=-np.inf)
    shift_N = np.where(np.isneginf(largest_N), 0.0, largest_N)
    with np.errstate(divide="ignore"):
        log_N: Float64 = np.log(np.exp(values_NK - shift_N[:, None]).sum(axis=1)) + shift_N
    return log_N


def _best(cut: TopKLogits) -> NDArray[np.int64]:
    if cut.class_ids_NK is None:
        return np.asarray(cut.logits_NK.argmax(axis=1))
    return cut.class_ids_NK[:, 0].astype(np.int64)


def _kl(ours: TopKLogits, theirs: TopKLogits) -> Float64:
    ours_NC, theirs_NC = _log_probs(ours), _log_probs(theirs)
    is_shared_NC = ~np.isnan(ours_NC) & ~np.isnan(theirs_NC)
    p_NC = np.where(is_shared_NC, np.exp(ours_NC), 0.0)
    q_NC = np.where(is_shared_NC, np.exp(theirs_NC), 0.0)
    kl_N = _sum_of_terms(p_NC, q_NC) + _sum_of_terms(_rest(p_NC), _rest(q_NC))
    return np.maximum(kl_N, 0.0)


def _rest(probs_NC: Float64) -> Float64:
    rest_N1: Float64 = 1.0 - probs_NC.sum(axis=1, keepdims=True)
    return rest_N1


def _sum_of_terms(p_NC: Float64, q_NC: Float64) -> Float64:
    # Below the floor lies what a float sum of all classes falls short of 1 by, and what is impossible.
    is_outcome_NC = p_NC > _FLOOR
    p_NC, q_NC = np.where(is_outcome_NC, p_NC, 1.0), np.where(is_outcome_NC, np.maximum(q_NC, _FLOOR), 1.0)
    terms_N: Float64 = (p_NC * np.log(p_NC / q_NC)).sum(axis=1)
    return terms_N


def _log_probs(cut: TopKLogits) -> Float64:
    """Return log-probabilities (N, C) at T = 1, NaN for classes that are not kept."""
    logits_NK = cut.logits_NK.astype(np.float64)
    log_kept_N = -np.logaddexp(0.0, cut.tail_N5[:, 1].astype(np.float64))
    if cut.class_ids_NK is None:
        log_kept_N = np.zeros(len(cut))
    log_NK = logits_NK - log_sum_exp(logits_NK)[:, None] + log_kept_N[:, None]
    if cut.class_ids_NK is None:
        return log_NK
    log_NC = np.full((len(cut), cut.num_classes), np.nan)
    rows_M, columns_M = np.nonzero(cut.class_ids_NK >= 0)
    log_NC[rows_M, cut.class_ids_NK[rows_M, columns_M]] = log_NK[rows_M, columns_M]
    return log_NC
