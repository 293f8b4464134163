"""Markdown out of texts that others wrote: shown as they are, and nothing in them is markup."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["code", "fenced", "table", "visible"]

_TICKS = re.compile("`+")


def visible(text: str) -> str:
    r"""Return a text on one line; what cannot be seen, or turns the direction of writing, is a question mark.

    >>> visible("a\n  b\u202e")
    'a b?'
    """
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def code(text: str) -> str:
    """Return a text as code, in which Markdown knows no links, no HTML and no emphasis; also in a table.

    >>> code("<b>`x`")
    '`` <b>`x` ``'
    >>> code("a|b")
    '`a`&#124;`b`'
    """
    # A bar would end the cell of a table, inside of code too.
    parts = (_span(part) for part in visible(text).split("|"))
    return "&#124;".join(parts) or "`?`"


def fenced(text: str, language: str) -> str:
    """Return lines as a block of code, whose fence no line of it can close."""
    fence = "`" * max(3, 1 + _longest(text))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _span(part: str) -> str:
    if not part.strip():
        return ""
    ticks = "`" * (1 + _longest(part))
    space = " " if len(ticks) > 1 else ""
    return f"{ticks}{space}{part}{space}{ticks}"


def _longest(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
