"""What every benchmark reports: figures with their spread beside the budget, measured in turns in one process."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

__all__ = ["Row", "as_text", "in_turns", "median_of", "run_alone"]

_RESAMPLES = 2000

Verdict = Literal["met", "missed", "within the spread", ""]


@dataclass(frozen=True)
class Row:
    """A figure and its budget.

    Attributes:
        what: what was measured, against what.
        median: the figure: a ratio, or a plain number in ``unit``.
        low: lower end of the 95 % interval of the median.
        high: upper end of it.
        unit: ``x`` for a ratio to a reference of the same run.
        goal: the budget, if there is one.
        at_least: whether the figure should be at least the goal, or at most.
        note: both sides in absolute numbers.
    """

    what: str
    median: float
    low: float
    high: float
    unit: str = "x"
    goal: float | None = None
    at_least: bool = True
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the whole interval is on the good side of the budget, on the bad side, or the budget inside it."""
        if self.goal is None:
            return ""
        if self.low <= self.goal <= self.high and self.low < self.high:
            return "within the spread"
        return "met" if (self.median >= self.goal) == self.at_least or self.median == self.goal else "missed"


def median_of(what: str, values: Sequence[float], **more: object) -> Row:
    """Return the median of some values, with its 95 % interval by bootstrap (Efron 1979).

    >>> row = median_of("throws", [2.0, 3.0, 2.5], goal=2.0)
    >>> row.median, row.verdict
    (2.5, 'within the spread')
    """
    found = np.asarray(values, dtype=np.float64)
    rng = np.random.Generator(np.random.PCG64(0))
    medians = np.median(rng.choice(found, (_RESAMPLES, len(found))), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return Row(what, statistics.median(found.tolist()), float(low), float(high), **more)  # type: ignore[arg-type]


def in_turns(
    sides: Sequence[Callable[[int], object]],
    repeats: int,
    *,
    clock: Callable[[], float] = time.process_time,
) -> list[list[float]]:
    """Return the seconds of each side's ``repeats`` turns; every side begins as often as every other.

    Before them each has a turn that does not count. A side gets the number of its turn, from 0 on.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats + 1):
        order = range(len(sides))
        for side in order if turn % 2 else reversed(order):
            started = clock()
            sides[side](turn)
            if turn:
                seconds[side].append(clock() - started)
    return seconds


def as_text(rows: Sequence[Row]) -> str:
    """Return a table."""
    cells = [("what", "median", "95 % interval", "budget", "", "absolute")]
    for row in rows:
        goal = "" if row.goal is None else f"{'>=' if row.at_least else '<='} {_number(row.goal)}"
        spread = "" if row.low == row.high else f"{_number(row.low)} to {_number(row.high)}"
        median = f"{_number(row.median)}{row.unit if row.unit == 'x' else ' ' + row.unit}"
        cells.append((row.what, median, spread, goal, row.verdict, row.note))
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip()
        for line in cells
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def run_alone(
    description: str | None,
    rows: Callable[..., list[Row]],
    *,
    has_device: bool = False,
    flags: Mapping[str, type] | None = None,
) -> None:
    """Be a command: ``--short``, ``--json``, ``--device`` where it applies, and one for each of ``flags``.

    A flag that is not given is not passed on.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="the form that make bench runs")
    parser.add_argument("--json", action="store_true")
    if has_device:
        parser.add_argument("--device", default="cpu")
    for name, kind in (flags or {}).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    options = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    as_json = options.pop("json")
    found = rows(**options)
    text = (
        json.dumps([asdict(row) | {"verdict": row.verdict} for row in found], indent=2)
        if as_json
        else as_text(found)
    )
    sys.stdout.write(text + "\n")
