"""The key of a view, and the counter-based random generator that it names.

Format 1 defines the draws down to the bit (docs/store-format.md), for any language to repeat: raw words of
Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and our own arithmetic
on them. NumPy promises the stream of a bit generator, not of ``Generator``'s distributions.
"""

import struct
import threading
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = ["Domain", "ViewKey", "ViewRandom", "Words", "random_for", "view_rng"]

Domain = Literal["view", "match", "mix"]

_NORMAL = NormalDist()
_local = threading.local()


@dataclass(frozen=True, slots=True)
class ViewKey:
    """Which view of which sample: the key of everything that a cache holds."""

    sample_key: str
    aug_seed: int


def _philox_key(domain: Domain, key: str, n: int) -> tuple[int, int]:
    material = b"%s\0%s\0%s" % (domain.encode(), key.encode(), struct.pack("<Q", n))
    low, high = struct.unpack("<QQ", xxhash.xxh3_128_digest(material)[::-1])
    return low, high


def _raw_words(key: tuple[int, int], op: int, count: int) -> NDArray[np.uint64]:
    """Reset this thread's one generator and draw; building one anew would cost a hundred times as much.

    NumPy takes the numbers of a state one by one: out of tuples in half the time that it takes out of arrays.
    """
    if not hasattr(_local, "philox"):
        _local.philox = np.random.Philox(key=0)
        _local.state = _local.philox.state | {"buffer": (0, 0, 0, 0), "buffer_pos": 4}
    _local.state["state"] = {"counter": (0, op, 0, 0), "key": key}
    _local.philox.state = _local.state
    words: NDArray[np.uint64] = _local.philox.random_raw(count)
    return words


class Words:
    """A stream of 64-bit words with the distributions that views are drawn from."""

    __slots__ = ("_position", "_words")

    def __init__(self, words: list[int]) -> None:
        self._words = words
        self._position = 0

    def word(self) -> int:
        """Return the next raw word in [0, 2**64).

        Raises:
            IndexError: more words are drawn than were asked for.
        """
        value = self._words[self._position]
        self._position += 1
        return value

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a float in [low, high) with 53 random bits."""
        return low + (high - low) * ((self.word() >> 11) * 2.0**-53)

    def integer(self, n: int) -> int:
        """Return an integer in [0, n)."""
        return (self.word() * n) >> 64

    def normal(self, mean: float = 0.0, std: float = 1.0) -> float:
        """Return a normal deviate by the inverse CDF (Wichura 1988, AS 241)."""
        u = ((self.word() >> 11) + 0.5) * 2.0**-53
        return mean + std * _NORMAL.inv_cdf(u)

    def beta(self, alpha: float, attempts: int = 32) -> float:
        """Return a symmetric Beta(alpha, alpha) deviate by Jöhnk's rejection (Jöhnk 1964).

        Each attempt takes two words; alpha up to 1 accepts at least every second one. The share of the last
        attempt stands even if it was not accepted, so the call cannot fail.
        """
        x = y = 1.0
        for _ in range(attempts):
            x = (((self.word() >> 11) + 0.5) * 2.0**-53) ** (1.0 / alpha)
            y = (((self.word() >> 11) + 0.5) * 2.0**-53) ** (1.0 / alpha)
            if 0.0 < x + y <= 1.0:
                break
        return x / (x + y) if x + y > 0.0 else 0.5


@dataclass(frozen=True, slots=True)
class ViewRandom:
    """Independent word streams, one for each op of a policy.

    Stream ``op`` is Philox4x64-10 under this key from counter (1, op, 0, 0) on, so switching one op of a
    policy off moves the draws of no other.
    """

    key: tuple[int, int]

    def words(self, op: int, count: int) -> Words:
        """Return the first ``count`` words of stream ``op``."""
        return Words(self.raw(op, count).tolist())

    def raw(self, op: int, count: int) -> NDArray[np.uint64]:
        """Return the first ``count`` words of stream ``op`` as uint64 (count,)."""
        return _raw_words(self.key, op, count)


def random_for(domain: Domain, key: str, n: int) -> ViewRandom:
    """Return the generator of (domain, key, n) and of nothing else.

    Domains: ``view`` (sample key, aug_seed), ``match`` (key of a window's first sample, aug_seed // 4) and
    ``mix`` (key of a pair's first sample, aug_seed).
    """
    return ViewRandom(_philox_key(domain, key, n))


def view_rng(key: ViewKey) -> ViewRandom:
    """Return the generator that draws this view's augmentation.

    It depends on nothing but its arguments: not on the rank, the worker, the epoch or the order of the
    samples.

    >>> view_rng(ViewKey("000001", 3)).words(0, 1).word() == view_rng(ViewKey("000001", 3)).words(0, 1).word()
    True
    """
    return random_for("view", key.sample_key, key.aug_seed)
