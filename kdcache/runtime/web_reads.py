"""Reading from a plain web server by obstore: never more of an answer than was asked for."""

from collections.abc import Iterator
from typing import Any, Final

__all__ = ["TooLargeError", "read_range", "read_whole"]

_LARGEST_OBJECT: Final = 5 << 30
"""More than the largest unit of a cache, 4 GiB, and what is around its chunks."""


class TooLargeError(Exception):
    """A server announced more bytes than any object of a cache has."""


def read_whole(api: Any, store: Any, path: str) -> bytes:
    """Return a whole object.

    Raises:
        TooLargeError: it is larger than any object of a cache; nothing of it was kept.
    """
    answer = api.get(store, path)
    size = int(answer.meta["size"])
    if size > _LARGEST_OBJECT:
        raise TooLargeError(
            f"it is said to have {size:,} bytes, but an object of a cache has at most {_LARGEST_OBJECT:,}"
        )
    return b"".join(_part(answer, 0, size))


def read_range(api: Any, store: Any, path: str, start: int, length: int) -> bytes:
    """Return up to ``length`` bytes from ``start`` on.

    A server that knows no ranges sends the object from its beginning: what lies before ``start`` is dropped as it
    comes, and the connection is closed when the range is whole.
    """
    if not length:
        api.head(store, path)
        return b""
    try:
        answer = api.get(store, path, options={"range": (start, start + length)})
        before = 0
    except api.exceptions.NotSupportedError:
        answer, before = api.get(store, path), start
    return b"".join(_part(answer, before, length))


def _part(answer: Any, before: int, length: int) -> Iterator[bytes]:
    """Yield ``length`` bytes of an answer after the first ``before``, and read no further."""
    position, end = 0, before + length
    for chunk in answer.stream():
        data = memoryview(chunk)
        yield bytes(data[max(0, before - position) : max(0, end - position)])
        position += len(data)
        if position >= end:
            return
