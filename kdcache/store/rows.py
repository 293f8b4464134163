"""A rule that holds for every row, and the row that breaks it."""

from typing import Any

import numpy as np

from kdcache.errors import CorruptChunkError

__all__ = ["demand_rows"]


def demand_rows(is_right_N: Any, problem: str) -> None:
    """Do nothing if a rule holds for all N rows of a block.

    Raises:
        CorruptChunkError: naming the first row that breaks it, and how.
    """
    if not is_right_N.all():
        raise CorruptChunkError(f"row {int(np.argmin(is_right_N))}: {problem}")
