"""What a listing says of one object."""

from typing import NamedTuple

__all__ = ["StoredObject"]


class StoredObject(NamedTuple):
    """An object's path below the cache, its size in bytes, and when it was last written (seconds, Unix time)."""

    path: str
    size: int
    modified: float
