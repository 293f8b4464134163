"""What a run will take: sums over its units, and seconds. Pure arithmetic."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Rates", "Seconds", "predicted_bytes", "sizes_to_measure"]

_MOST_SIZES = 4


def sizes_to_measure(num_rows: Collection[int]) -> tuple[int, ...]:
    """Return at most four of these numbers of rows, the smallest and the largest among them.

    >>> sizes_to_measure([8, 3, 5, 7, 8, 1])
    (1, 3, 5, 8)
    """
    sizes = sorted(set(num_rows))
    most = min(_MOST_SIZES, len(sizes))
    return tuple(sizes[i * (len(sizes) - 1) // max(1, most - 1)] for i in range(most))


def predicted_bytes(counts: Mapping[int, int], measure: Callable[[int], float]) -> int:
    """Return the bytes of all units: how many have how many rows, and what one of so many rows takes.

    Only a few sizes are measured; what lies between them is interpolated.
    """
    sizes = sizes_to_measure(counts)
    known = [measure(size) for size in sizes]
    return round(sum(count * float(np.interp(rows, sizes, known)) for rows, count in counts.items()))


@dataclass(frozen=True, slots=True)
class Seconds:
    """A run, and its two parts with the machine to themselves."""

    teachers: float
    rendering: float
    run: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What a short probe measured, in views of good samples.

    Attributes:
        render: views/s of one reader, while all of them work.
        networks: views/s of each network, alone on one device.
        readers: of one worker.
        workers: processes that share the work.
        devices: that they compute on; on a CPU each worker has cores of its own.
        overlaps: teachers and readers do not share cores.
    """

    render: float
    networks: dict[str, float]
    readers: int
    workers: int
    devices: int
    overlaps: bool

    def teaching(self, asked: Mapping[str, float]) -> float:
        """Return the seconds in which each network sees so many views."""
        return sum(views / self.networks[name] for name, views in asked.items()) / self.devices

    def seconds(self, asked: Mapping[str, float], *, rendered: float) -> Seconds:
        """Return how long a run takes that renders so many views and asks each network about so many."""
        teachers = self.teaching(asked)
        rendering = rendered / (self.render * self.readers * self.workers)
        run = max(teachers, rendering) if self.overlaps else teachers + rendering
        return Seconds(teachers, rendering, run)
