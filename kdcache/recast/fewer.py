"""The planes of a smaller K out of those of a larger one.

Kept classes are ordered by one unique key and each gap is rounded against the class before it, so the classes
and gaps of a smaller K are the first ones of the larger; top-1, mean and deviation are of all classes. What
changes is the tail: the classes that are dropped now belong to it, and how much they hold is known as well as
their stored logits are.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from kdcache.logits import TAIL_TEMPERATURES, Float32, TopKLogits, top_k
from kdcache.recast.divergence import log_sum_exp
from kdcache.store.encoding import decode, empty_planes, encode
from kdcache.store.gap8 import count_saturated
from kdcache.store.head import NUM_HEAD_PLANES, Planes, encode_head
from kdcache.store.invariants import has_targets
from kdcache.store.manifest import TeacherIdentity

__all__ = ["fewer_classes"]

_CUT_GAP: Final = 254


def fewer_classes(planes_PR: Planes, entry: TeacherIdentity, k: int) -> tuple[Planes, int]:
    """Return the ``gap8`` planes of the best ``k`` classes, and how many rows are saturated.

    From ``gap8`` all planes but the tail's log-odds are the bytes that stage one writes for ``k``; from
    ``float32``, which lost nothing, those are, too, but for the last bit of a float32 sum.

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
    head_6R = planes_PR[-NUM_HEAD_PLANES:].copy()
    shorter = replace(decoded, tail_log_odds_N3=_longer_tail(decoded, k))
    head_6R[1:4] = encode_head(shorter, planes_PR.dtype)[1:4]
    head_6R[:, ~is_there_R] = np.iinfo(planes_PR.dtype).max
    fewer_PR = np.concatenate([planes_PR[:k], gaps, head_6R])
    return fewer_PR, int(((gaps == _CUT_GAP).any(axis=0) & is_there_R).sum())


def _cut(decoded: TopKLogits, k: int) -> tuple[Planes, int]:
    """Cut dense logits as stage one does; mean and deviation stay as it has stored them."""
    rows = np.flatnonzero(decoded.valid_N)
    planes_PR = empty_planes((len(decoded),), encoding="gap8", top_k=k, num_classes=decoded.num_classes)
    if not len(rows):
        return planes_PR, 0
    dense = decoded.take(rows)
    cut = replace(top_k(dense.logits_NK, k), mean_N=dense.mean_N, std_N=dense.std_N)
    planes_PR[:, rows] = encode(cut, encoding="gap8", top_k=k)
    return planes_PR, count_saturated(cut)


def _longer_tail(decoded: TopKLogits, k: int) -> Float32:
    """Return log(tail / kept) at each stored temperature when classes from the k-th on join the tail."""
    columns = []
    with np.errstate(invalid="ignore"):  # rows without targets
        below_NK = (decoded.logits_NK - decoded.top1_N[:, None]).astype(np.float64)
        for number, temperature in enumerate(TAIL_TEMPERATURES):
            scaled_NK = below_NK / temperature
            tail_N = decoded.tail_log_odds_N3[:, number] + log_sum_exp(scaled_NK)
            longer_N = np.logaddexp(log_sum_exp(scaled_NK[:, k:]), tail_N)
            columns.append(longer_N - log_sum_exp(scaled_NK[:, :k]))
    return np.stack(columns, axis=1).astype(np.float32)
