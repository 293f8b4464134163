"""What a listing says of one object."""

from typing import Final, NamedTuple

__all__ = ["UNKNOWN_SIZE", "StoredObject"]

UNKNOWN_SIZE: Final = -1
"""Of an object that was listed by name only."""


class StoredObject(NamedTuple):
    """An object's path below the cache, its size in bytes, and when it was last written (seconds, Unix time).

    ``size`` is ``UNKNOWN_SIZE``, and ``modified`` 0, where a listing has names only.
    """

    path: str
    size: int
    modified: float
