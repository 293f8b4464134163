"""A rule is broken by a row, and the row is named."""

import numpy as np
import pytest

from kdcache.errors import CorruptChunkError
from kdcache.store.rows import demand_rows


def test_a_rule_that_holds_says_nothing() -> None:
    demand_rows(np.array([True, True]), "is odd")
    demand_rows(np.array([], dtype=bool), "is odd")


def test_the_first_row_that_breaks_it_is_named() -> None:
    with pytest.raises(CorruptChunkError, match=r"^row 1: is odd$"):
        demand_rows(np.array([True, False, False]), "is odd")
