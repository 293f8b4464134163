"""``SHA256SUMS``: what ``sha256sum --check`` reads."""

import re
from collections.abc import Iterable

__all__ = ["dump_sums", "parse_sums"]

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def dump_sums(entries: Iterable[tuple[str, str]]) -> bytes:
    """Return the text of the file for these (path, sha256), sorted by path."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(entries)).encode("utf-8")


def parse_sums(data: bytes) -> dict[str, str]:
    r"""Return the sha256 by path; lines that say something else are left out, for they prove nothing.

    >>> parse_sums(b"0" * 64 + b"  samples/key/c/0\nnonsense\n") == {"samples/key/c/0": "0" * 64}
    True
    """
    lines = (_LINE.fullmatch(line) for line in data.decode("utf-8", errors="replace").splitlines())
    return {line[2]: line[1] for line in lines if line}
