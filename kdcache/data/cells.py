"""What of a block a pass trains on: rows, or the pairs that a mixing policy makes of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellSource", "Cells", "RowCells", "Rows"]

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """The rows of one block that one pass visits.

    Attributes:
        main: int64 (N, cell size); the rows of a cell are never split between micro-batches.
        singles: int64 (S,), rows that stay alone although the cell size is 2.
    """

    main: Rows
    singles: Rows


class CellSource(Protocol):
    """Gives the cells of a block; which rows pair up may depend on the augmentation seed."""

    @property
    def cell_size(self) -> int:
        """Rows of a main cell."""
        ...

    def counts(self, block: int, aug_seed: int) -> tuple[int, int]:
        """Return how many (main cells, singles) a block has, without reading its samples if possible."""
        ...

    def cells(self, block: int, aug_seed: int) -> Cells:
        """Return them."""
        ...


class RowCells:
    """Every usable row on its own: the cells of a policy without mixing."""

    @property
    def cell_size(self) -> int:
        """One."""
        return 1

    def __init__(self, usable_rows: dict[int, Rows]) -> None:
        self._usable_rows = usable_rows

    def counts(self, block: int, aug_seed: int) -> tuple[int, int]:
        """Return (number of usable rows, 0)."""
        del aug_seed
        return len(self._usable_rows[block]), 0

    def cells(self, block: int, aug_seed: int) -> Cells:
        """Return the usable rows."""
        del aug_seed
        return Cells(self._usable_rows[block][:, None], np.empty(0, dtype=np.int64))
