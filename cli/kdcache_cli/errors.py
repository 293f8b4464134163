"""Errors on the way out: one clear paragraph on stderr, and an exit code that a script can act on."""

import traceback
from types import MappingProxyType
from typing import Final

import click

from kdcache.errors import ConfigError, KdcacheError, ManifestMismatchError, ViewMismatchError

__all__ = ["BAD_INPUT", "INTERRUPTED", "MISMATCH", "USAGE", "exit_code", "report", "sentence"]

USAGE: Final = 2
BAD_INPUT: Final = 3
MISMATCH: Final = 4
INTERRUPTED: Final = 5

_BY_CODE: Final = MappingProxyType({"KD600": INTERRUPTED})
_BY_CLASS: Final[tuple[tuple[type[KdcacheError], int], ...]] = (
    (ConfigError, USAGE),
    (ManifestMismatchError, MISMATCH),
    (ViewMismatchError, MISMATCH),
    (KdcacheError, BAD_INPUT),
)


def exit_code(error: KdcacheError) -> int:
    """Return the exit code of ``error``: 2 usage, 3 bad data or store, 4 mismatch, 5 interrupted.

    >>> exit_code(ViewMismatchError("other pixels"))
    4
    """
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next(code for kind, code in _BY_CLASS if isinstance(error, kind))


def sentence(error: KdcacheError) -> str:
    """Return what the error says; torch's DataLoader puts a worker's whole traceback in front of it."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()


def report(error: KdcacheError, *, debug: bool) -> None:
    """Tell the user on stderr what went wrong; with ``debug`` the traceback comes first."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    click.echo(f"error {error.code}: {sentence(error)}", err=True)
