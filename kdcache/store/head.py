"""The six head planes that end every encoding of logits: the best logit, and what is known of the tail.

The top-1 logit in 1/16 nat; of the finite logits that were cut off their number; then, in 1/64 nat, their log-odds at
T = 1, mean relative to the top-1, standard deviation and bend (``kdcache.logits.tail_log_sum``). All but the number are
signed and clipped to +-32,767. Without a tail the last five are 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Float32, TopKLogits
from kdcache.store.rows import demand_rows

__all__ = [
    "HEAD_STEPS",
    "NUM_HEAD_PLANES",
    "Planes",
    "check_head",
    "decode_head",
    "encode_head",
]

HEAD_STEPS = {
    "top1": 16,
    "tail_count": 1,
    "tail_log_odds": 64,
    "tail_mean": 64,
    "tail_std": 64,
    "tail_bend": 64,
}
"""The planes in their order, and the steps of each in one."""
NUM_HEAD_PLANES = len(HEAD_STEPS)

Planes = NDArray[Any]

_LIMIT = 32_767
_COUNT, _LOG_ODDS, _MEAN, _STD = 1, 2, 3, 4
_STEPS_61 = np.array(list(HEAD_STEPS.values()))[:, None]


def encode_head(cut: TopKLogits, dtype: np.dtype[Any]) -> Planes:
    """Return the head of N views as (6, N); rows without targets are to be overwritten by the caller."""
    values_6N = np.concatenate([cut.top1_N[None], cut.tail_N5.T]).astype(np.float64)
    has_no_tail_N = values_6N[_COUNT] == 0
    values_6N[_LOG_ODDS, has_no_tail_N] = 0.0
    values_6N[:, ~cut.valid_N] = 0.0
    count_N = values_6N[_COUNT].astype(dtype)
    steps_6N = np.clip(np.floor(values_6N * _STEPS_61 + 0.5), -_LIMIT, _LIMIT)
    head_6N: Planes = steps_6N.astype(np.dtype(f"i{dtype.itemsize}")).view(dtype)
    head_6N[_COUNT] = count_N
    return head_6N


def decode_head(head_6N: Planes) -> Float32:
    """Return the head as float32 (6, N) in nats, -inf for the log-odds where there is no tail."""
    signed_6N = head_6N.view(np.dtype(f"i{head_6N.dtype.itemsize}"))
    values_6N: Float32 = signed_6N.astype(np.float32)
    values_6N *= (1.0 / _STEPS_61).astype(np.float32)
    values_6N[_COUNT] = head_6N[_COUNT]
    values_6N[_LOG_ODDS, head_6N[_COUNT] == 0] = -np.inf
    return values_6N


def check_head(head_6N: Planes, is_bad_N: NDArray[np.bool_], *, largest_tail: int) -> None:
    """Check the head of all rows but the bad ones; at most ``largest_tail`` classes can have been cut off.

    Raises:
        CorruptChunkError: naming the first row whose head no logits have.
    """
    signed_6N = head_6N.view(np.dtype(f"i{head_6N.dtype.itemsize}"))
    count_N = head_6N[_COUNT]
    is_number_6N = (signed_6N >= -_LIMIT) & (signed_6N <= _LIMIT)
    is_number_6N[_COUNT] = True
    demand_rows(is_number_6N.all(axis=0) | is_bad_N, "a head value is out of range")
    demand_rows((count_N <= largest_tail) | is_bad_N, f"more than {largest_tail} classes were cut off")
    demand_rows((signed_6N[_MEAN] <= 0) | is_bad_N, "the tail's mean logit is above the best one")
    demand_rows((signed_6N[_STD] >= 0) | is_bad_N, "the standard deviation is negative")
    is_none_N = (head_6N[_LOG_ODDS:] == 0).all(axis=0)
    demand_rows((count_N > 0) | is_none_N | is_bad_N, "no class was cut off, yet there is a tail")
