"""Names of objects: below the cache's folder, and nowhere else."""

import re
from typing import Final

__all__ = ["safe_path"]

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_LONGEST: Final = 1024


def safe_path(path: str) -> str:
    """Return ``path`` if an object of a cache may have it, whatever the file system.

    It is relative, its segments are ASCII letters, digits, ``_``, ``.`` and ``-``, and none of them is ``.`` or
    ``..``. Whoever writes files under names that a cache brings along must ask here first.

    Raises:
        ValueError: it is another one.

    >>> safe_path("samples/key/c/0")
    'samples/key/c/0'
    """
    segments = path.split("/") if len(path) <= _LONGEST else [""]
    if not all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments):
        raise ValueError(
            f"{path[:200]!r} cannot name an object of a cache: names are relative, of letters, digits, '_', '.' "
            "and '-', without '..'"
        )
    return path
