"""Progress on a terminal, in a log file, and when quiet."""

import io

from kdcache.runtime.progress import BarProgress, LineProgress, QuietProgress, make_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    progress = make_progress("views", total=10, unit="views", stream=stream)
    assert isinstance(progress, BarProgress)
    with progress:
        progress.advance(10, "top-1 71.0 %")
        progress.say("a line [with brackets]")
    assert "a line [with brackets]" in stream.getvalue()
    assert "top-1 71.0 %" in stream.getvalue()


def test_a_file_gets_lines() -> None:
    stream = io.StringIO()
    progress = make_progress("precompute", total=10, unit="views", stream=stream)
    assert isinstance(progress, LineProgress)
    with progress:
        progress.advance(10, "top-1 71.0 %")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("precompute: 10 of 10 views, ")
    assert line.endswith("0:00:00 taken, top-1 71.0 %")


def test_lines_come_no_more_often_than_asked_for() -> None:
    stream = io.StringIO()
    with LineProgress("x", total=3, unit="steps", stream=stream, every=0.0) as progress:
        progress.advance(1)
    assert "1 of 3 steps" in stream.getvalue()
    assert "left" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_nothing_to_do_prints_nothing() -> None:
    stream = io.StringIO()
    with LineProgress("x", total=0, unit="steps", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_quiet_says_nothing() -> None:
    stream = Terminal()
    progress = make_progress("x", total=1, unit="views", quiet=True, stream=stream)
    assert isinstance(progress, QuietProgress)
    with progress:
        progress.advance(1)
        progress.say("hello")
    assert stream.getvalue() == ""
