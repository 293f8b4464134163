"""Running means on the device: nothing is read back until somebody asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["LOWER_IS_BETTER", "Figure", "Tally", "num_correct"]

LOWER_IS_BETTER = frozenset({"loss", "teacher_kl"})
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
        self._sums_N2 = torch.zeros(len(names), 2, dtype=_widest(device), device=device)

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


def num_correct(logits_BC: Tensor, labels_B: Tensor, k: int) -> Tensor:
    """Return in how many rows the label is among the ``k`` best classes; a label below 0 is never."""
    best_BK = logits_BC.topk(min(k, logits_BC.shape[1]), dim=1).indices
    return (best_BK == labels_B[:, None]).sum()


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
