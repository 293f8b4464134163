"""A number that moves over a run: a loss weight or a temperature."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Ramp"]


@dataclass(frozen=True, slots=True)
class Ramp:
    """From ``start`` at the first step to ``end`` after the last one, on a line or along half a cosine.

    >>> Ramp(1.0, 3.0).at(0.5)
    2.0
    """

    start: float
    end: float
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, progress: float) -> float:
        """Return the value at ``progress``, the share of the run's steps that are done, in [0, 1]."""
        if self.start == self.end:
            return self.start
        share = progress if self.shape == "linear" else (1.0 - math.cos(math.pi * progress)) / 2.0
        return self.start + (self.end - self.start) * share

    @property
    def is_zero(self) -> bool:
        """True if it is never anything but zero."""
        return self.start == 0.0 and self.end == 0.0

    @property
    def ends(self) -> tuple[float, ...]:
        """Its two extremes, or one value if it does not move."""
        return (self.start,) if self.start == self.end else (self.start, self.end)
