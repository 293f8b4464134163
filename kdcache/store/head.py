"""The six head planes that end every encoding: int16 numbers in 1/256 nat.

top-1 logit; log-odds of the tail at T = 1, 2, 4; mean and standard deviation of all finite logits, relative
to the top-1. Values are clipped to +-32,767; -32,768 says that there is no tail.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Float32, TopKLogits
from kdcache.store.rows import demand_rows

__all__ = ["NUM_HEAD_PLANES", "Planes", "check_head", "decode_head", "encode_head"]

NUM_HEAD_PLANES = 6

Planes = NDArray[Any]

_STEP = 256
_LIMIT = 32_767
_NO_TAIL = -32_768


def encode_head(cut: TopKLogits, dtype: np.dtype[Any]) -> Planes:
    """Return the head of N views as (6, N); rows without targets are to be overwritten by the caller."""
    values_6N = np.vstack([cut.top1_N, cut.tail_log_odds_N3.T, cut.mean_N, cut.std_N]).astype(np.float64)
    has_no_tail_6N = np.zeros(values_6N.shape, dtype=bool)
    has_no_tail_6N[1:4] = values_6N[1:4] == -np.inf
    values_6N[:, ~cut.valid_N] = 0.0
    steps_6N = np.clip(np.floor(values_6N * _STEP + 0.5), -_LIMIT, _LIMIT)
    steps_6N[has_no_tail_6N] = _NO_TAIL
    signed = np.dtype(f"i{dtype.itemsize}")
    return steps_6N.astype(signed).view(dtype)


def decode_head(head_6N: Planes) -> Float32:
    """Return the head as float32 (6, N) in nats, -inf where there is no tail."""
    signed_6N = head_6N.view(np.dtype(f"i{head_6N.dtype.itemsize}"))
    values_6N: Float32 = signed_6N.astype(np.float32)
    values_6N *= np.float32(1.0 / _STEP)
    tail_3N = values_6N[1:4]
    tail_3N[signed_6N[1:4] == _NO_TAIL] = -np.inf
    return values_6N


def check_head(head_6N: Planes, is_bad_N: NDArray[np.bool_], *, has_tail: bool) -> None:
    """Check the head of all rows but the bad ones.

    Raises:
        CorruptChunkError: naming the first row whose head no logits have.
    """
    signed_6N = head_6N.view(np.dtype(f"i{head_6N.dtype.itemsize}"))
    is_number_6N = (signed_6N >= -_LIMIT) & (signed_6N <= _LIMIT)
    is_number_6N[1:4] |= signed_6N[1:4] == _NO_TAIL
    demand_rows(is_number_6N.all(axis=0) | is_bad_N, "a head value is out of range")
    demand_rows((signed_6N[4] <= 0) | is_bad_N, "the mean logit is above the best one")
    demand_rows((signed_6N[5] >= 0) | is_bad_N, "the standard deviation is negative")
    if not has_tail:
        is_none_N = (signed_6N[1:4] == _NO_TAIL).all(axis=0)
        demand_rows(is_none_N | is_bad_N, "all classes are kept, yet there is a tail")
