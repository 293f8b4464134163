"""What the demo found, which promises it kept, and how that is shown."""

import json
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Final

__all__ = ["MIN_GAIN", "DemoReport"]

MIN_GAIN: Final = 5.0
"""Points by which the distilled students must beat the labels-only ones, on average."""


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The figures of one demo run; accuracies are top-1 on the test pictures, in percent."""

    num_views: int
    bytes_per_view: float
    views_per_second: float
    encoding: str
    objects_verified: int
    digests_checked: int
    teacher_top1: float
    labels_only_top1: tuple[float, ...]
    distilled_top1: tuple[float, ...]
    mixed_top1: float
    steps: int
    teacher_calls_in_training: int
    seconds: float

    @property
    def gain(self) -> float:
        """The mean distilled accuracy minus the mean labels-only accuracy, in points."""
        return mean(self.distilled_top1) - mean(self.labels_only_top1)

    @property
    def promises(self) -> tuple[tuple[str, bool], ...]:
        """Each promise with whether this run kept it."""
        return (
            (f"distilled beats labels only by {MIN_GAIN:g} points or more", self.gain >= MIN_GAIN),
            ("every object of the cache matches its record", self.objects_verified > 0),
            ("the student saw the pixels that the teacher saw", self.digests_checked > 0),
            ("no teacher was called in training", self.teacher_calls_in_training == 0),
        )

    @property
    def kept(self) -> bool:
        """True if every promise was kept."""
        return all(kept for _, kept in self.promises)

    def to_json(self) -> str:
        """Return all figures and promises as JSON."""
        promises = [{"promise": text, "kept": kept} for text, kept in self.promises]
        return json.dumps(
            asdict(self) | {"gain": self.gain, "promises": promises, "kept": self.kept}, indent=2
        )

    def to_text(self) -> str:
        """Return a table for people."""
        rows = [
            ("Stage one: the teacher, once", ""),
            ("  views cached", f"{self.num_views:,}"),
            ("  bytes per view", f"{self.bytes_per_view:.1f}  ({self.encoding}, with head and pixel digest)"),
            ("  views per second", f"{self.views_per_second:,.0f}"),
            ("  objects verified", f"{self.objects_verified:,}"),
            ("Stage two: the student, without the teacher", ""),
            ("  steps of each run", f"{self.steps:,}"),
            ("  teacher calls in training", f"{self.teacher_calls_in_training}  ({_PROOF})"),
            ("  views checked by pixel digest", f"{self.digests_checked:,}  (all equal)"),
            ("Accuracy on 1,000 test pictures", ""),
            ("  teacher (60,000 labels)", f"{self.teacher_top1:.1f} %"),
            ("  student, labels only (200 labels)", _accuracies(self.labels_only_top1)),
            ("  student, distilled (teacher on 2,000)", _accuracies(self.distilled_top1)),
            (
                "  student, distilled on mixed views",
                f"{self.mixed_top1:.1f} %  (pairs by mixup or CutMix; one run)",
            ),
            ("  gain", f"{self.gain:+.1f} points  (the teacher's knowledge replaces labels)"),
        ]
        table = [f"{name:<42}{value}".rstrip() for name, value in rows]
        promises = [f"  {'kept  ' if kept else 'BROKEN'}  {text}" for text, kept in self.promises]
        return "\n".join(["", *table, f"Promises ({self.seconds:.0f} s)", *promises])


_PROOF: Final = "importing a teacher raises in those processes"


def _accuracies(values: tuple[float, ...]) -> str:
    return f"{mean(values):.1f} %  ({', '.join(f'{value:.1f}' for value in values)})"
