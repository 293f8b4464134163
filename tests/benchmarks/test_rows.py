"""Rows and what they say of a budget."""

import itertools

import pytest

from tests.benchmarks.rows import Row, as_text, in_turns, median_of


@pytest.mark.parametrize(
    ("values", "goal", "at_least", "verdict"),
    [
        ([2.0, 2.1, 2.2], 1.9, True, "met"),
        ([2.0, 2.1, 2.2], 2.3, True, "missed"),
        ([2.0, 2.1, 2.2], 2.1, True, "within the spread"),
        ([2.0, 2.1, 2.2], 1.9, False, "missed"),
        ([2.0, 2.1, 2.2], 2.3, False, "met"),
        ([5.0], 5.0, True, "met"),
        ([5.0], 5.0, False, "met"),
        ([5.0], None, True, ""),
    ],
)
def test_a_budget_is_met_where_the_whole_interval_is_on_its_good_side(
    values: list[float], goal: float | None, at_least: bool, verdict: str
) -> None:
    assert median_of("x", values, goal=goal, at_least=at_least).verdict == verdict


def test_sides_take_turns_and_each_begins_every_other_one() -> None:
    turns: list[tuple[str, int]] = []
    ticks = itertools.count()
    seconds = in_turns(
        [lambda turn: turns.append(("a", turn)), lambda turn: turns.append(("b", turn))],
        3,
        clock=lambda: float(next(ticks)),
    )
    assert "".join(side for side, _ in turns) == "baabbaab"
    assert seconds == [[1.0] * 3, [1.0] * 3]


def test_a_table_has_a_line_a_row() -> None:
    text = as_text(
        [Row("reading", 2.0, 1.5, 2.5, goal=1.0, note="a and b"), Row("size", 5.0, 5.0, 5.0, "MB")]
    )
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["reading", "2x", "1.5", "to", "2.5", ">=", "1", "met", "a", "and", "b"],
        ["size", "5", "MB"],
    ]
