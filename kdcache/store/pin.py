"""Pinned addresses: ``s3://bucket/cache@sha256:1f0c2ab9`` says the content id that the cache must have."""

import re
from pathlib import Path

from kdcache.errors import ConfigError, ManifestMismatchError

__all__ = ["demand_pinned", "split_pin"]

_MARK = "@sha256:"
_SHORTEST = 8


def split_pin(url: str | Path) -> tuple[str, str | None]:
    """Return the address of a cache and what its content id must begin with, if that is said.

    >>> split_pin("s3://bucket/cache@sha256:1F0C2AB9")
    ('s3://bucket/cache', 'sha256:1f0c2ab9')

    Raises:
        ConfigError: what is said is no content id.
    """
    address, mark, digits = str(url).rpartition(_MARK)
    if not mark:
        return str(url), None
    if not address or not re.fullmatch(rf"[0-9a-fA-F]{{{_SHORTEST},64}}", digits):
        raise ConfigError(
            f"{url} does not pin a cache: expected ADDRESS{_MARK} and {_SHORTEST} to 64 hexadecimal digits, the "
            "content id or its beginning; kdcache info prints it"
        )
    return address, f"sha256:{digits.lower()}"


def demand_pinned(url: str, *, pin: str | None, found: str) -> None:
    """Refuse a cache that is not the pinned one.

    Raises:
        ManifestMismatchError: the content id that was found begins otherwise.
    """
    if pin is not None and not found.startswith(pin):
        raise ManifestMismatchError(
            f"the cache at {url} is not the pinned one: its content id is {found}, pinned is {pin}; it was changed, "
            "extended or replaced since: use the cache that is meant, or pin this one"
        )
