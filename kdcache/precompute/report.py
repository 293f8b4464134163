"""What a run of stage one did."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["PrecomputeReport", "TeacherResult", "merged"]


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """One teacher, or the features of one, in this run.

    Attributes:
        top_k: kept classes; of features their number.
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

    def plus(self, other: "TeacherResult") -> "TeacherResult":
        """Return the sum with another worker's views."""
        return replace(self, labelled=self.labelled + other.labelled, correct=self.correct + other.correct)


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
        reader_wait_seconds: went by waiting for a reader,
        teacher_wait_seconds: for a teacher, and
        writer_wait_seconds: for the writer. Of several workers, these are sums over all of them.
        workers: processes that did it.
    """

    cache: str
    units: int
    units_before: int
    views: int
    bad_samples: dict[str, int]
    teachers: dict[str, TeacherResult]
    seconds: float
    reader_wait_seconds: float
    teacher_wait_seconds: float
    writer_wait_seconds: float
    workers: int = 1

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
            if result.encoding == "features16":
                lines.append(f"features {name}: {result.top_k:,} numbers a view")
                continue
            top1 = "" if result.top1 is None else f", top-1 {result.top1:.1%} of {result.labelled:,} views"
            lines.append(f"teacher {name}: {result.encoding}, {result.top_k} classes kept{top1}")
        if self.bad_samples:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.bad_samples.items())
            lines.append(f"bad samples, marked and skipped: {counts}")
        if self.views:
            lines.append(self._waits())
        return "\n".join(lines)

    def _waits(self) -> str:
        waits = {
            "readers": self.reader_wait_seconds,
            "teachers": self.teacher_wait_seconds,
            "writer": self.writer_wait_seconds,
        }
        longest = max(waits, key=lambda name: waits[name])
        advice = {
            "readers": "more --readers may help",
            "teachers": "the teachers are the bottleneck",
            "writer": "the store is the bottleneck",
        }
        parts = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in waits.items())
        return f"waited for {parts}: {advice[longest]}"


def merged(reports: Sequence[PrecomputeReport], *, cache: str, units_before: int) -> PrecomputeReport:
    """Return the sum of several workers' reports."""
    teachers: dict[str, TeacherResult] = {}
    bad: Counter[str] = Counter()
    for report in reports:
        bad.update(report.bad_samples)
        for name, result in report.teachers.items():
            before = teachers.get(name)
            teachers[name] = result if before is None else before.plus(result)
    return PrecomputeReport(
        cache=cache,
        units=sum(report.units for report in reports),
        units_before=units_before,
        views=sum(report.views for report in reports),
        bad_samples=dict(bad),
        teachers=teachers,
        seconds=max((report.seconds for report in reports), default=0.0),
        reader_wait_seconds=sum(report.reader_wait_seconds for report in reports),
        teacher_wait_seconds=sum(report.teacher_wait_seconds for report in reports),
        writer_wait_seconds=sum(report.writer_wait_seconds for report in reports),
        workers=len(reports),
    )
