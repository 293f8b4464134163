"""How far a run is: a bar with ETA on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO

__all__ = ["BarProgress", "LineProgress", "Progress", "QuietProgress", "make_progress"]

_LINE_SECONDS = 30.0


class Progress(Protocol):
    """Counts units of work towards a total, and says things to people meanwhile."""

    def __enter__(self) -> Self:
        """Start the clock."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say where the run stands."""
        ...

    def advance(self, count: int, facts: str = "") -> None:
        """Note that ``count`` more are done; ``facts`` stands beside the rate."""
        ...

    def say(self, line: str) -> None:
        """Print one line for people to read."""
        ...


def make_progress(
    label: str, *, total: int, unit: str, quiet: bool = False, stream: TextIO | None = None
) -> Progress:
    """Return the progress that suits ``stream`` (stderr by default)."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return QuietProgress()
    if stream.isatty():
        return BarProgress(label, total=total, unit=unit, stream=stream)
    return LineProgress(label, total=total, unit=unit, stream=stream)


class QuietProgress:
    """Says nothing."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def advance(self, count: int, facts: str = "") -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""


class LineProgress:
    """A line at the start, every half minute and at the end: what a log file can bear."""

    def __init__(
        self, label: str, *, total: int, unit: str, stream: TextIO, every: float = _LINE_SECONDS
    ) -> None:
        self._label, self._total, self._unit, self._stream = label, total, unit, stream
        self._every = every
        self._done = 0
        self._facts = ""
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        """Start the clock."""
        self._start = self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the last line."""
        if self._total:
            self._print()

    def advance(self, count: int, facts: str = "") -> None:
        """Count, and print a line when one is due."""
        self._done += count
        self._facts = facts
        if time.monotonic() - self._last >= self._every:
            self._print()

    def say(self, line: str) -> None:
        """Print one line."""
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def _print(self) -> None:
        self._last = time.monotonic()
        seconds = max(self._last - self._start, 1e-9)
        rate = self._done / seconds
        left = (self._total - self._done) / rate if rate else 0.0
        parts = [
            f"{self._label}: {self._done:,} of {self._total:,} {self._unit}",
            f"{rate:,.1f} {self._unit}/s",
            f"{_clock(left)} left" if self._done < self._total else f"{_clock(seconds)} taken",
            self._facts,
        ]
        self.say(", ".join(part for part in parts if part))


class BarProgress:
    """A bar by rich, with rate and ETA."""

    def __init__(self, label: str, *, total: int, unit: str, stream: TextIO) -> None:
        from rich.console import Console  # noqa: PLC0415 - 0.1 s that a quiet run need not pay
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._unit = unit
        self._start = time.monotonic()
        self._done = 0
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(file=stream),
        )
        self._task = self._bar.add_task(label, total=total, facts="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._start = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def advance(self, count: int, facts: str = "") -> None:
        """Move the bar."""
        self._done += count
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        shown = f"{rate:,.0f} {self._unit}/s" + (f", {facts}" if facts else "")
        self._bar.update(self._task, advance=count, facts=shown)

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False)


def _clock(seconds: float) -> str:
    """Return a duration as people read it.

    >>> _clock(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
