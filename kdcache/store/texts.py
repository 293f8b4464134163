"""Texts that a cache brings along: shown to people, so they must not steer a terminal."""

import re
from typing import Final

__all__ = ["steers_terminal"]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def steers_terminal(text: str) -> bool:
    r"""Tell whether a text holds what moves a cursor or turns the direction of writing; tabs and line ends do not.

    >>> steers_terminal("né/1"), steers_terminal("\x1b[2J")
    (False, True)
    """
    return _CONTROL.search(text) is not None
