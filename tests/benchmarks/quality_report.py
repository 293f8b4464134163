"""What the quality benchmark found: accuracies, their spread and what they cost, for people and for programs."""

import statistics
from dataclasses import dataclass
from typing import Any

__all__ = ["GOAL", "MethodResult", "QualityReport", "SettingResult"]

GOAL = 2.5
"""Points by which soft targets must beat labels only where few pictures have a label, on average."""

LABELS_ONLY, SOFT = "labels only", "soft"


@dataclass(frozen=True, slots=True)
class MethodResult:
    """The runs of one way to train, one seed each; accuracies in percent."""

    seeds: tuple[int, ...]
    top1: tuple[float, ...]
    wall_seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean accuracy over the seeds."""
        return statistics.mean(self.top1)


@dataclass(frozen=True, slots=True)
class SettingResult:
    """All ways to train, by name, where ``labels`` of ``images`` pictures have a label."""

    labels: int
    images: int
    methods: dict[str, MethodResult]

    @property
    def has_few_labels(self) -> bool:
        """True if the teacher labels pictures that have no label."""
        return self.labels < self.images

    def gain(self, name: str) -> float | None:
        """Return how many points ``name`` is better than labels only; None if those were not trained."""
        if LABELS_ONLY not in self.methods or name not in self.methods:
            return None
        return self.methods[name].mean - self.methods[LABELS_ONLY].mean


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything the benchmark found.

    Attributes:
        teachers: accuracy in percent on the same test pictures, by name.
        teacher_training_cpu_seconds: what training the involution teacher took; next to nothing if it was there.
        stages_one: by name of the cache, (wall, CPU) seconds of filling it.
    """

    steps: int
    batch_size: int
    views: int
    test_images: int
    teachers: dict[str, float]
    teacher_training_cpu_seconds: float
    stages_one: dict[str, tuple[float, float]]
    settings: tuple[SettingResult, ...]

    @property
    def few_label_gain(self) -> float | None:
        """The gain of soft targets where fewest pictures have a label; None if that was not measured."""
        few = min((part for part in self.settings if part.has_few_labels), key=_labels, default=None)
        return None if few is None else few.gain(SOFT)

    @property
    def cpu_minutes(self) -> float:
        """CPU time of all commands; training the involution teacher comes on top."""
        runs = [method for part in self.settings for method in part.methods.values()]
        seconds = sum(sum(method.cpu_seconds) for method in runs)
        return (seconds + sum(cpu for _, cpu in self.stages_one.values())) / 60

    def to_json(self) -> dict[str, Any]:
        """Return all figures as values that JSON has."""
        gain = self.few_label_gain
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "samples": self.steps * self.batch_size,
            "views": self.views,
            "test_images": self.test_images,
            "teachers": self.teachers,
            "teacher_training_cpu_seconds": self.teacher_training_cpu_seconds,
            "stages_one": {
                name: {"wall_seconds": wall, "cpu_seconds": cpu}
                for name, (wall, cpu) in self.stages_one.items()
            },
            "settings": [_setting_facts(part) for part in self.settings],
            "few_label_gain": gain,
            "goal": GOAL,
            "reached": None if gain is None else gain >= GOAL,
            "cpu_minutes": self.cpu_minutes,
        }

    def to_text(self) -> str:
        """Return the tables for people."""
        teachers = ", ".join(f"{name} {top1:.2f} %" for name, top1 in self.teachers.items())
        samples = f"{self.steps:,} steps of {self.batch_size}, {self.steps * self.batch_size:,} views"
        lines = [
            f"every run: {samples}; {self.views} views a picture",
            f"top-1 on {self.test_images:,} test pictures; teachers: {teachers}",
        ]
        for part in self.settings:
            lines += ["", f"{part.labels:,} labels on {part.images:,} pictures", _HEAD, *_rows(part)]
        lines += ["", "stage one" + " " * 21 + "wall s   CPU s"]
        for name, (wall, cpu) in self.stages_one.items():
            lines.append(f"  {name:<26}{wall:>8.0f}{cpu:>8.0f}")
        return "\n".join([*lines, "", *self._verdict()])

    def _verdict(self) -> list[str]:
        gain = self.few_label_gain
        words = (
            "not measured"
            if gain is None
            else f"{gain:+.2f} points, goal {GOAL:g}: {'reached' if gain >= GOAL else 'MISSED'}"
        )
        return [
            f"few-label gain of soft targets over labels only: {words}",
            f"{self.cpu_minutes:.1f} CPU minutes, and {self.teacher_training_cpu_seconds / 60:.1f} for teachers",
        ]


_HEAD = f"  {'':<18}{'seeds':>7}{'mean %':>9}{'min..max':>15}{'gain':>8}{'wall s':>9}{'CPU s':>8}"


def _labels(part: SettingResult) -> int:
    return part.labels


def _rows(part: SettingResult) -> list[str]:
    return [_row(part, name, method) for name, method in part.methods.items()]


def _row(part: SettingResult, name: str, method: MethodResult) -> str:
    gain = part.gain(name)
    shown = "" if gain is None or name == LABELS_ONLY else f"{gain:+.2f}"
    spread = f"{min(method.top1):.2f}..{max(method.top1):.2f}"
    wall, cpu = statistics.mean(method.wall_seconds), statistics.mean(method.cpu_seconds)
    return (
        f"  {name:<18}{len(method.seeds):>7}{method.mean:>9.2f}{spread:>15}{shown:>8}{wall:>9.0f}{cpu:>8.0f}"
    )


def _setting_facts(part: SettingResult) -> dict[str, Any]:
    methods = {
        name: {
            "seeds": list(method.seeds),
            "top1": list(method.top1),
            "mean": method.mean,
            "lowest": min(method.top1),
            "highest": max(method.top1),
            "gain": part.gain(name),
            "wall_seconds": list(method.wall_seconds),
            "cpu_seconds": list(method.cpu_seconds),
        }
        for name, method in part.methods.items()
    }
    return {"labels": part.labels, "images": part.images, "methods": methods}
