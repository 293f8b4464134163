"""Accuracy and confidence of each class: which classes a student gets wrong."""

import csv
import io
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import softmax

from kdcache.train.metrics import widest_float

__all__ = ["ClassCounts", "ClassFigures", "to_csv", "worst"]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What became of the samples of one class.

    Attributes:
        label: the class.
        samples: how many samples have this label.
        top1: share of them that the student names right; None without samples.
        confidence: mean probability of the class that the student names, right or wrong.
    """

    label: int
    samples: int
    top1: float | None
    confidence: float | None


class ClassCounts:
    """Sums by class, on one device; sums of processes may be added."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._sums_C3 = torch.zeros(num_classes, 3, dtype=widest_float(device), device=device)

    def add(self, logits_BC: Tensor, labels_B: Tensor) -> None:
        """Count the rows that have a label (``labels_B`` >= 0)."""
        confidence_B, best_B = softmax(logits_BC.float(), dim=1).max(dim=1)
        row_B3 = torch.stack([torch.ones_like(confidence_B), best_B == labels_B, confidence_B], dim=1)
        known_B1 = (labels_B >= 0)[:, None]
        self._sums_C3.index_add_(0, labels_B.clamp(min=0), (row_B3 * known_B1).to(self._sums_C3.dtype))

    @property
    def sums_C3(self) -> Tensor:
        """Rows, correct rows and sum of confidences of each class; to be reduced over processes in place."""
        return self._sums_C3

    def figures(self) -> tuple[ClassFigures, ...]:
        """Return one row a class, in class order."""
        return tuple(
            ClassFigures(
                label,
                round(samples),
                round(correct / samples, 6) if samples else None,
                round(confidence / samples, 6) if samples else None,
            )
            for label, (samples, correct, confidence) in enumerate(self._sums_C3.tolist())
        )


def worst(rows: tuple[ClassFigures, ...], count: int) -> tuple[ClassFigures, ...]:
    """Return the ``count`` classes of the lowest top-1, the most confident first among equals."""
    known = [row for row in rows if row.samples]
    return tuple(sorted(known, key=lambda row: (row.top1, -(row.confidence or 0.0), row.label))[:count])


def to_csv(rows: tuple[ClassFigures, ...]) -> str:
    """Return a table with a header; what nothing was counted for stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ClassFigures)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
