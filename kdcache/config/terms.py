"""Under which terms a cache may be used, and whom to ask: told by whoever makes it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from kdcache.config.base import Settings

__all__ = ["Terms"]

_LONGEST = 1000


def _one_line(text: str) -> str:
    """Return a text with single spaces between its words; it is printed, so it must not steer a terminal."""
    line = " ".join(text.split())
    if not line or not line.isprintable():
        raise ValueError(f"{text[:80]!r} is not a line of text; write printable characters")
    return line


Line = Annotated[str, Field(max_length=_LONGEST), AfterValidator(_one_line)]


class Terms(Settings):
    """What a cache's manifest says for those who did not make it; no part of its identity.

    Attributes:
        licence: an SPDX identifier, as ``CC-BY-4.0``, or free text.
        contact: a person, an address or a page.
    """

    licence: Line | None = None
    contact: Line | None = None
