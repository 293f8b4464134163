"""The cells of a mixing policy: pairs of samples inside windows of a block, and who stays alone."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kdcache.config.views import ViewPolicy
from kdcache.data.cells import Cells, Rows
from kdcache.logits import Int32
from kdcache.store.tables import SampleTable
from kdcache.views.mix import MATCH_SEEDS, MATCH_WINDOW, ONE, match_window, mix_pair, mix_params

__all__ = ["mix_rows", "pair_cells", "partners_of"]


def partners_of(table: SampleTable, aug_seed: int) -> Rows:
    """Return the partner of each row of a block, int64 (n,); a row that stays unmixed is its own partner.

    The odd last sample of a block stays alone, and so does one whose partner is bad.
    """
    partners_N = _matched(table.keys, aug_seed // MATCH_SEEDS)
    is_alone_N = ~(table.ok_N & table.ok_N[partners_N])
    return np.where(is_alone_N, np.arange(len(table)), partners_N)


def pair_cells(table: SampleTable, aug_seed: int) -> Cells:
    """Return pairs (lower row first) and singles of a block's good samples."""
    partners_N = partners_of(table, aug_seed)
    rows_N = np.arange(len(table))
    lower_P = np.flatnonzero(partners_N > rows_N)
    alone_S = np.flatnonzero((partners_N == rows_N) & table.ok_N)
    return Cells(np.stack([lower_P, partners_N[lower_P]], axis=1), alone_S)


def mix_rows(views_N3HW: NDArray[np.uint8], table: SampleTable, aug_seed: int, policy: ViewPolicy) -> Int32:
    """Mix the pairs of a block, or of whole windows of it, in place.

    Returns:
        int32 (N,), the label of each view's larger part.
    """
    labels_N = table.labels.copy()
    for low, high in pair_cells(table, aug_seed).main.tolist():
        params = mix_params(table.keys[low], aug_seed, policy)
        mix_pair(views_N3HW[low], views_N3HW[high], params)
        if params.lam_q < ONE // 2:
            labels_N[[low, high]] = table.labels[[high, low]]
    return labels_N


@lru_cache(maxsize=64)
def _matched(keys: tuple[str, ...], matching: int) -> Rows:
    parts = []
    for first in range(0, len(keys), MATCH_WINDOW):
        num_rows = min(MATCH_WINDOW, len(keys) - first)
        parts.append(first + match_window(keys[first], matching * MATCH_SEEDS, num_rows))
    return np.concatenate(parts)
