"""What passes from the teachers to the writer thread."""

from collections.abc import Mapping
from dataclasses import dataclass

from kdcache.precompute.cut import DeviceCut, DeviceFeatures
from kdcache.precompute.plan import Task
from kdcache.precompute.reader import RenderedItem

__all__ = ["Outcome", "TeacherCounts"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item with its views dropped and its cuts, possibly still on their way from the device."""

    task: Task
    rendered: RenderedItem
    cuts: Mapping[str, DeviceCut | DeviceFeatures]
    seconds: Mapping[str, float]


@dataclass(slots=True)
class TeacherCounts:
    """What is counted of one teacher's views."""

    labelled: int = 0
    correct: int = 0
    saturated: int = 0
    seconds: float = 0.0

    def add(self, other: "TeacherCounts") -> None:
        """Add the counts of another unit."""
        self.labelled += other.labelled
        self.correct += other.correct
        self.saturated += other.saturated
        self.seconds += other.seconds
