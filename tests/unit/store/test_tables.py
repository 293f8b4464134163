"""Sample tables count their failures and name their differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kdcache.store.tables import STATUS_OK, STATUS_TOO_LARGE, STATUS_UNDECODABLE, SampleTable


@pytest.fixture
def table() -> SampleTable:
    return SampleTable(
        keys=("a", "b", "c"),
        labels=np.array([1, -1, 0], dtype=np.int32),
        digests=np.array([10, 11, 12], dtype=np.uint64),
        status=np.array([STATUS_OK, STATUS_UNDECODABLE, STATUS_TOO_LARGE], dtype=np.uint8),
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"keys": ("a", "a", "c")}, ("key", "a key is there twice")),
        ({"keys": ("a", "\x1b[2J", "c")}, ("key", "a key holds control characters")),
        ({"labels": np.array([1, -2, 0])}, ("label", "a label is below -1")),
        ({"labels": np.array([1, -1, 5])}, ("label", "a label is not below 5")),
        ({"status": np.array([0, 1, 0])}, ("status", "a sample has an unknown status")),
    ],
)
def test_what_no_block_has_is_named(
    table: SampleTable, change: dict[str, Any], problem: tuple[str, str] | None
) -> None:
    assert replace(table, **change).problem(3, num_classes=5) == problem


def test_failures_are_counted_by_reason(table: SampleTable) -> None:
    assert table.failures() == {"undecodable": 1, "too large": 1}
    assert table.head(1).failures() == {}
    assert table.ok_N.tolist() == [True, False, False]


def test_equal_tables_do_not_differ(table: SampleTable) -> None:
    assert table.first_difference(replace(table)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": ("a", "x", "c")}, "row 1 is sample 'b' against 'x'"),
        ({"labels": np.array([1, 2, 0])}, "sample 'b' has label -1 against 2"),
        ({"digests": np.array([10, 11, 13])}, "sample 'c' has image digest 12 against 13"),
        ({"status": np.array([1, 2, 3])}, "sample 'a' has status 0 against 1"),
    ],
)
def test_the_first_difference_is_named(table: SampleTable, change: dict[str, object], message: str) -> None:
    assert table.first_difference(replace(table, **change)) == message  # type: ignore[arg-type]


def test_tables_of_different_length_differ(table: SampleTable) -> None:
    assert table.first_difference(table.head(2)) == "3 samples against 2"
