"""What a run of stage one did."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PrecomputeReport", "TeacherResult"]


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """One teacher in this run.

    Attributes:
        labelled: views of this run whose sample has a label.
        correct: of those, how many the teacher puts first.
    """

    encoding: str
    top_k: int
    labelled: int
    correct: int

    @property
    def top1(self) -> float | None:
        """The share of labelled views that the teacher gets right; None without labels."""
        return self.correct / self.labelled if self.labelled else None


@dataclass(frozen=True, slots=True)
class PrecomputeReport:
    """What a run did, and where its time went.

    Attributes:
        cache: where the cache is.
        units: teacher units committed by this run.
        units_before: those that were committed before.
        views: views rendered by this run.
        bad_samples: by reason, among the samples that this run decoded.
        teachers: by name.
        seconds: wall time of the whole run, of which
        reader_wait_seconds: went by waiting for a reader, and
        writer_wait_seconds: by waiting for the writer.
    """

    cache: str
    units: int
    units_before: int
    views: int
    bad_samples: dict[str, int]
    teachers: dict[str, TeacherResult]
    seconds: float
    reader_wait_seconds: float
    writer_wait_seconds: float

    @property
    def views_per_second(self) -> float:
        """Views of this run over its wall time."""
        return self.views / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all facts as values that JSON has."""
        teachers = {name: {**asdict(result), "top1": result.top1} for name, result in self.teachers.items()}
        return {**asdict(self), "views_per_second": self.views_per_second, "teachers": teachers}

    def summary(self) -> str:
        """Say it in a few lines."""
        before = f" ({self.units_before} were there before)" if self.units_before else ""
        rate = f"{self.views:,} views in {self.seconds:,.1f} s, {self.views_per_second:,.1f} views/s"
        lines = [f"{self.cache}: complete; {self.units} units committed{before}, {rate}"]
        for name, result in self.teachers.items():
            top1 = "" if result.top1 is None else f", top-1 {result.top1:.1%} of {result.labelled:,} views"
            lines.append(f"teacher {name}: {result.encoding}, {result.top_k} classes kept{top1}")
        if self.bad_samples:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.bad_samples.items())
            lines.append(f"bad samples, marked and skipped: {counts}")
        return "\n".join(lines)
