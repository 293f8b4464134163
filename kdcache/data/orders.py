"""Random orders of a run: from counter-based words, so that a position can be found again without replay."""

import struct
from enum import IntEnum

import numpy as np
import xxhash
from numpy.typing import NDArray

from kdcache.keys import ViewRandom

__all__ = ["Purpose", "permutation"]


class Purpose(IntEnum):
    """What an order is for; the counter word of its stream."""

    BLOCKS = 0
    CELLS = 1
    SEEDS = 2
    SINGLES = 3


def permutation(purpose: Purpose, size: int, *numbers: int) -> NDArray[np.int64]:
    """Return a permutation of ``range(size)`` that depends on nothing but its arguments.

    The items are sorted by one random 64-bit word each; equal words, should they come, keep their order.
    """
    low, high = struct.unpack(
        "<QQ", xxhash.xxh3_128_digest(b"order\0" + struct.pack(f"<{len(numbers)}q", *numbers))
    )
    return np.argsort(ViewRandom((low, high)).raw(purpose, max(size, 1))[:size], kind="stable")
