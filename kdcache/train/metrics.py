"""Running means and counts on the device: nothing is read back until somebody asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import softmax

__all__ = [
    "ECE_BINS",
    "LOWER_IS_BETTER",
    "Calibration",
    "Figure",
    "Tally",
    "num_correct",
    "widest_float",
]

ECE_BINS = 15
"""Guo et al. 2017 and nearly everybody since."""

LOWER_IS_BETTER = frozenset({"loss", "ece", "teacher_kl"})
"""Those figures of an evaluation that should fall."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an evaluation, by which states are ranked."""

    name: str
    value: float

    @property
    def lower_is_better(self) -> bool:
        """Which way is up."""
        return self.name in LOWER_IS_BETTER


class Tally:
    """Sums and counts by name, float64, on one device."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self._names = names
        self._sums_N2 = torch.zeros(len(names), 2, dtype=widest_float(device), device=device)

    def add(self, name: str, total: Tensor | float, count: Tensor | float) -> None:
        """Add ``total`` over ``count`` things to a mean."""
        row = self._sums_N2[self._names.index(name)]
        row[0] += total
        row[1] += count

    def means(self) -> dict[str, float | None]:
        """Return each mean; None where nothing was counted."""
        sums = self._sums_N2.tolist()
        return {
            name: total / count if count else None
            for name, (total, count) in zip(self._names, sums, strict=True)
        }

    def count(self, name: str) -> int:
        """Return how many things a mean was taken over."""
        return round(float(self._sums_N2[self._names.index(name), 1]))

    @property
    def sums_N2(self) -> Tensor:
        """The sums and counts, one row a name; to be reduced over processes in place."""
        return self._sums_N2

    def reset(self) -> None:
        """Forget everything."""
        self._sums_N2.zero_()

    def state(self) -> dict[str, list[float]]:
        """Return what a checkpoint must hold."""
        return dict(zip(self._names, self._sums_N2.tolist(), strict=True))

    def restore(self, state: Mapping[str, list[float]]) -> Self:
        """Go back to an earlier ``state``."""
        self._sums_N2.copy_(torch.tensor([state[name] for name in self._names], dtype=self._sums_N2.dtype))
        return self


class Calibration:
    """Counts by confidence, for the expected calibration error; sums of processes may be added.

    Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599, section 2): a row falls into
    one of ``ECE_BINS`` equal parts (low, high] of [0, 1] by the probability of its best class.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums_M3 = torch.zeros(ECE_BINS, 3, dtype=widest_float(device), device=device)

    def add(self, logits_BC: Tensor, labels_B: Tensor) -> None:
        """Count the rows that have a label (``labels_B`` >= 0)."""
        confidence_B, best_B = softmax(logits_BC.float(), dim=1).max(dim=1)
        bin_B = ((confidence_B * ECE_BINS).ceil().long() - 1).clamp(0, ECE_BINS - 1)
        row_B3 = torch.stack([torch.ones_like(confidence_B), confidence_B, best_B == labels_B], dim=1)
        known_B1 = (labels_B >= 0)[:, None]
        self._sums_M3.index_add_(0, bin_B, (row_B3 * known_B1).to(self._sums_M3.dtype))

    @property
    def sums_M3(self) -> Tensor:
        """Rows, sum of confidences and correct rows of each bin; to be reduced over processes in place."""
        return self._sums_M3

    def ece(self) -> float | None:
        """Return the mean gap between confidence and accuracy, bins weighed by their rows; None without rows."""
        count_M, confidence_M, correct_M = self._sums_M3.unbind(dim=1)
        total = float(count_M.sum())
        return float((correct_M - confidence_M).abs().sum()) / total if total else None


def num_correct(logits_BC: Tensor, labels_B: Tensor, k: int) -> Tensor:
    """Return in how many rows the label is among the ``k`` best classes; a label below 0 is never."""
    best_BK = logits_BC.topk(min(k, logits_BC.shape[1]), dim=1).indices
    return (best_BK == labels_B[:, None]).sum()


def widest_float(device: torch.device) -> torch.dtype:
    """Return the type in which sums lose least on ``device``: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
