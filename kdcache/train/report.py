"""What a training run found, for people and for programs."""

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from kdcache.train.evaluate import EvalReport

__all__ = ["TEACHER_MODULES", "TrainReport", "teacher_modules"]

TEACHER_MODULES = ("kdcache.teachers", "kdcache.precompute")


def teacher_modules() -> tuple[str, ...]:
    """Return the modules that can run a teacher and that this process has imported."""
    return tuple(sorted(name for name in sys.modules if name.startswith(TEACHER_MODULES)))


@dataclass(frozen=True, slots=True)
class TrainReport:
    """The outcome of a run.

    Attributes:
        out: the run's folder; ``weights`` is the file in it that timm loads.
        samples: views that the student was trained on.
        views_checked: views whose pixels were compared with the cache's digest.
        views_drifted: those that differ by a decoder's rounding, where that is allowed; all others are equal.
        rows_without_targets: views for which the cache has no targets.
        cache_id: content id of the cache when the run began (or went on); equal caches have equal ids.
        teacher_calls: always 0: training has no way to call a teacher.
        teacher_modules: modules that could, imported by this process; empty in a training process.
        evaluation: of the final weights; ``evaluation_ema``: of their running mean.
        steps_skipped: those whose gradients float16 could not hold.
        provenance: the cache's views and teachers, and the software (``kdcache.train.provenance``).
    """

    out: str
    weights: str
    student: str
    steps: int
    epochs: float
    samples: int
    views_checked: int
    rows_without_targets: int
    cache: str
    cache_id: str
    kept_mass: float | None
    resumed_from_step: int | None
    seconds: float
    evaluation: EvalReport | None
    evaluation_ema: EvalReport | None = None
    steps_skipped: int = 0
    views_drifted: int = 0
    teacher_calls: int = 0
    teacher_modules: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def _equality(self) -> str:
        if not self.views_drifted:
            return "all equal"
        return f"{self.views_drifted:,} differ by a decoder's rounding (allowed)"

    @property
    def proof(self) -> str:
        """How it is known that no teacher was called."""
        if self.teacher_modules:
            return f"training cannot import a teacher; this process did: {', '.join(self.teacher_modules)}"
        return f"{' and '.join(TEACHER_MODULES)} were never imported"

    def facts(self) -> dict[str, Any]:
        """Return every field, and the proof, as JSON values."""
        evaluations = {
            name: None if report is None else report.facts()
            for name, report in (("evaluation", self.evaluation), ("evaluation_ema", self.evaluation_ema))
        }
        return asdict(self) | {"teacher_calls_known_by": self.proof} | evaluations

    def to_json(self) -> str:
        """Return every field as JSON."""
        return json.dumps(self.facts(), indent=2)

    def to_text(self) -> str:
        """Return the report in a few lines, for people."""
        rows = [
            ("student", self.student),
            ("steps", f"{self.steps:,} ({self.epochs:,.2f} epochs, {self.samples:,} views)"),
            ("views checked", f"{self.views_checked:,} by pixel digest, {self._equality}"),
            ("without targets", f"{self.rows_without_targets:,} views"),
            ("teacher calls", f"{self.teacher_calls} ({self.proof})"),
            ("cache", f"{self.cache} ({self.cache_id[:19]})"),
            *([("validation", self.evaluation.to_text())] if self.evaluation else []),
            *([("mean weights", self.evaluation_ema.to_text())] if self.evaluation_ema else []),
            *([("skipped", f"{self.steps_skipped:,} steps for float16's range")] * (self.steps_skipped > 0)),
            ("weights", self.weights),
        ]
        return "\n".join(f"{name:<16} {value}" for name, value in rows)
