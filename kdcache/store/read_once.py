"""What was read lately, kept at hand; two threads that want the same thing read it once."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["ReadOnce"]

T = TypeVar("T")


class ReadOnce(Generic[T]):
    """Calls ``read`` and keeps its last ``size`` results; a fork begins without any.

    >>> lengths = ReadOnce(len, size=2)
    >>> lengths("abc")
    3
    """

    def __init__(self, read: Callable[..., T], *, size: int) -> None:
        self._read, self._size = read, size
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._pending: dict[Hashable, Future[T]] = {}

    def __len__(self) -> int:
        """Return how many results are kept."""
        return len(self._kept)

    def __contains__(self, key: tuple[Hashable, ...]) -> bool:
        """Tell whether it was read and is kept, or is being read."""
        return key in self._kept or key in self._pending

    def __call__(self, *key: Hashable) -> T:
        """Return ``read(*key)``, from memory or from another thread that reads it now."""
        if self._process != os.getpid():
            self._begin()  # threads that were reading are not in this process
        try:
            found = self._kept[key]
            self._kept.move_to_end(key)
        except KeyError:
            return self._result(key)
        return found

    def ahead(self, *key: Hashable) -> None:
        """Read for a later call; an error is kept for it, too."""
        if self._process != os.getpid():
            self._begin()
        future, is_mine = self._claimed(key)
        if is_mine:
            self._fill(key, future)

    def grow(self, size: int) -> None:
        """Keep at least so many results."""
        self._size = max(self._size, size)

    def forget(self, *key: Hashable) -> None:
        """Read it again the next time."""
        with self._lock:
            self._kept.pop(key, None)
            self._pending.pop(key, None)

    def _result(self, key: tuple[Hashable, ...]) -> T:
        future, is_mine = self._claimed(key)
        if is_mine:
            self._fill(key, future)
        try:
            return future.result()
        except BaseException:
            with self._lock:
                if self._pending.get(key) is future:
                    del self._pending[key]
            raise

    def _claimed(self, key: Hashable) -> tuple["Future[T]", bool]:
        """Return who reads it, and whether that is the caller."""
        with self._lock:
            if key in self._kept:
                done: Future[T] = Future()
                done.set_result(self._kept[key])
                return done, False
            if key in self._pending:
                return self._pending[key], False
            self._pending[key] = Future()
            return self._pending[key], True

    def _fill(self, key: tuple[Hashable, ...], future: "Future[T]") -> None:
        try:
            result = self._read(*key)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever wants the result
            future.set_exception(error)
            return
        with self._lock:
            self._kept[key] = result
            while len(self._kept) > max(self._size, 1):
                self._kept.popitem(last=False)
            self._pending.pop(key, None)
        future.set_result(result)
