"""The planes of a smaller K out of those of a larger one.

Kept classes are ordered by one unique key and each gap is rounded against the class before it, so the classes
and gaps of a smaller K are the first ones of the larger. What changes is the tail: the classes that are dropped
now belong to it, and are known as well as their stored logits are.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from kdcache.logits import NO_TAIL, Float32, TopKLogits, cubic_at_half, top_k
from kdcache.recast.divergence import Float64, log_sum_exp
from kdcache.store.encoding import decode, empty_planes, encode
from kdcache.store.gap8 import count_saturated
from kdcache.store.head import Planes, encode_head
from kdcache.store.invariants import has_targets
from kdcache.store.manifest import TeacherIdentity

__all__ = ["fewer_classes"]

_CUT_GAP: Final = 254


def fewer_classes(planes_PR: Planes, entry: TeacherIdentity, k: int) -> tuple[Planes, int]:
    """Return the ``gap8`` planes of the best ``k`` classes, and how many rows are saturated.

    From ``gap8`` all planes but the tail's are the bytes that stage one writes for ``k``; from ``float32``, which
    lost nothing, those are, too, but for the last bit of a float32 sum.

    Args:
        planes_PR: as stored, one augmentation seed.
        entry: the teacher as the cache has it, ``gap8`` or ``float32``.
        k: fewer classes than it keeps.
    """
    decoded = decode(planes_PR, encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes)
    if entry.encoding == "float32":
        return _cut(decoded, k)
    is_there_R = has_targets(planes_PR)
    gaps = planes_PR[entry.top_k : entry.top_k + k - 1]
    head_6R = encode_head(replace(decoded, tail_N5=_longer_tail(decoded, k)), planes_PR.dtype)
    head_6R[:, ~is_there_R] = np.iinfo(planes_PR.dtype).max
    fewer_PR = np.concatenate([planes_PR[:k], gaps, head_6R])
    return fewer_PR, int(((gaps == _CUT_GAP).any(axis=0) & is_there_R).sum())


def _cut(decoded: TopKLogits, k: int) -> tuple[Planes, int]:
    """Cut dense logits as stage one does."""
    rows = np.flatnonzero(decoded.valid_N)
    planes_PR = empty_planes((len(decoded),), encoding="gap8", top_k=k, num_classes=decoded.num_classes)
    if not len(rows):
        return planes_PR, 0
    cut = top_k(decoded.logits_NK[rows], k)
    planes_PR[:, rows] = encode(cut, encoding="gap8", top_k=k)
    return planes_PR, count_saturated(cut)


def _longer_tail(decoded: TopKLogits, k: int) -> Float32:
    """Return the tail (N, 5) when classes from the k-th on join it."""
    count_N, log_odds_N, mean_N, std_N, bend_N = decoded.tail_N5.astype(np.float64).T
    below_NK = np.where(decoded.valid_N[:, None], decoded.logits_NK, 0.0).astype(np.float64)
    below_NK -= below_NK[:, :1]
    joins_NK = np.isfinite(below_NK) & (np.arange(below_NK.shape[1]) >= k)
    all_N = np.maximum(count_N + joins_NK.sum(axis=1), 1.0)
    all_mean_N = (count_N * mean_N + below_NK.sum(axis=1, where=joins_NK)) / all_N
    squares_N = np.square(below_NK - all_mean_N[:, None]).sum(axis=1, where=joins_NK)
    squares_N += count_N * (np.square(std_N) + np.square(mean_N - all_mean_N))
    all_std_N = np.sqrt(squares_N / all_N)
    log_sum_N = log_odds_N + log_sum_exp(below_NK)
    half_N = np.where(count_N > 0, _cubic(count_N, log_sum_N, mean_N, std_N) + bend_N, -np.inf)
    all_sum_N = np.logaddexp(log_sum_N, log_sum_exp(below_NK[:, k:]))
    all_half_N = np.logaddexp(half_N, log_sum_exp(0.5 * below_NK[:, k:]))
    has_tail_N = np.isfinite(all_sum_N)
    all_bend_N = np.where(has_tail_N, all_half_N, 0.0) - _cubic(all_N, all_sum_N, all_mean_N, all_std_N)
    all_odds_N = all_sum_N - log_sum_exp(below_NK[:, :k])
    tail_N5 = np.stack([all_N, all_odds_N, all_mean_N, all_std_N, all_bend_N], axis=1)
    tail_N5[~has_tail_N] = NO_TAIL
    return tail_N5.astype(np.float32)


def _cubic(count_N: Float64, log_sum_N: Float64, mean_N: Float64, std_N: Float64) -> Float64:
    log_count_N = np.log(np.maximum(count_N, 1.0))
    cubic_N: Float64 = cubic_at_half(log_count=log_count_N, log_sum=log_sum_N, mean=mean_N, std=std_N)
    return cubic_N
