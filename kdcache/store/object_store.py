"""What every place that a cache may be at can do."""

from collections.abc import Iterator
from typing import Protocol

from kdcache.store.stored import StoredObject

__all__ = ["ObjectStore"]


class ObjectStore(Protocol):
    """Named, immutable byte strings under one address."""

    url: str

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        ...

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""
        ...

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        ...

    def put_new(self, path: str, data: bytes) -> bool:
        """Publish a new object whole; False, and nothing changed, when the name is taken."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Publish an object whole, in place of the one that has the name."""
        ...

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:
        """Publish ``new`` if the object still holds ``old`` (None: if there is none); else False."""
        ...

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object under the folder ``prefix``, in a stable order.

        A size may be ``UNKNOWN_SIZE`` where a listing does not say it.
        """
        ...

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield what writers that were killed left behind, and no reader ever looks at."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError when there is none."""
        ...

    def settle(self) -> None:
        """Make durable what killed writers left: whoever begins to write builds on it."""
        ...
