"""The cells of a policy without mixing are the good rows."""

import numpy as np

from kdcache.data.cells import RowCells


def test_every_usable_row_is_a_cell_of_its_own() -> None:
    cells = RowCells({0: np.array([0, 2, 5]), 1: np.empty(0, dtype=np.int64)})
    assert cells.cell_size == 1
    assert cells.cells(0, 3).main.tolist() == [[0], [2], [5]]
    assert cells.cells(0, 3).singles.tolist() == []
    assert cells.cells(1, 0).main.shape == (0, 1)


def test_counts_are_those_of_the_cells_under_any_seed() -> None:
    cells = RowCells({0: np.array([0, 2, 5])})
    for aug_seed in range(3):
        found = cells.cells(0, aug_seed)
        assert cells.counts(0, aug_seed) == (len(found.main), len(found.singles))
