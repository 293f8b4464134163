"""What an export wrote, and how it was checked."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ExportReport"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """One export.

    Attributes:
        files: what was written; the first is what was asked for.
        input: what the exported model takes.
        max_difference: largest difference between a logit of the export, loaded again, and the run's own.
        views_checked: over how many views.
        load: Python that loads it.
    """

    to: str
    files: tuple[str, ...]
    student: str
    weights_file: str
    input: str
    max_difference: float
    views_checked: int
    load: str
    opset: int | None = None

    def to_json(self) -> str:
        """Return every field as JSON."""
        return json.dumps(asdict(self), indent=2)

    def to_text(self) -> str:
        """Return the report in a few lines, for people."""
        paths = [path for name in self.files for path in (Path(name), *Path(name).rglob("*"))]
        size = sum(path.stat().st_size for path in paths if path.is_file())
        rows = [
            ("student", f"{self.student} ({self.weights_file})"),
            (self.to, f"{', '.join(self.files)} ({size:,} bytes)"),
            ("input", self.input),
            *([("opset", str(self.opset))] if self.opset else []),
            (
                "checked",
                f"logits differ by at most {self.max_difference:.1e} over {self.views_checked} views",
            ),
        ]
        return "\n".join([*(f"{name:<16} {value}" for name, value in rows), "", self.load])
