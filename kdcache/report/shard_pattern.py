"""Many shards in one word of a command line."""

import re
from collections.abc import Sequence

__all__ = ["shard_pattern"]

_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")


def shard_pattern(names: Sequence[str]) -> str | None:
    """Return names as braces or a star, which a shell must not expand; None where letters of theirs mean more.

    >>> shard_pattern(["a-000.tar", "a-001.tar"]), shard_pattern(["a.tar"]), shard_pattern(["a.tar", "b.tar"])
    ('a-{000..001}.tar', 'a.tar', '*.tar')
    """
    if not all(_PLAIN.fullmatch(name) for name in names) or names[0].startswith("-"):
        return None
    if len(names) == 1:
        return names[0]
    return _numbered(names) or "*.tar"


def _numbered(names: Sequence[str]) -> str | None:
    found = [_NUMBERED.fullmatch(name) for name in names]
    parts = [match.groups() for match in found if match]
    if len(parts) < len(names) or len({(stem, len(digits), end) for stem, digits, end in parts}) > 1:
        return None
    numbers = [int(digits) for _, digits, _ in parts]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    (stem, first, end), (_, last, _) = parts[0], parts[-1]
    return f"{stem}{{{first}..{last}}}{end}"
