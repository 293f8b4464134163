"""Many requests at once: threads that take items in order, within a limit of bytes in memory."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["DEFAULT_JOBS", "in_parallel"]

DEFAULT_JOBS = 8
_BYTES_IN_FLIGHT = 1 << 29
_PATIENCE = 3.0
"""Seconds that an interrupted run gives the requests in flight."""

T = TypeVar("T")


def in_parallel(
    items: Sequence[T],
    task: Callable[[T], None],
    *,
    jobs: int,
    size_of: Callable[[T], int] | None = None,
    done: Callable[[T], None] | None = None,
) -> None:
    """Call ``task`` with each item, on up to ``jobs`` threads; the first error ends it and is raised here.

    Args:
        items: taken in order.
        task: may run on several threads at once.
        jobs: threads.
        size_of: bytes that an item takes; together at most 512 MiB, a larger item runs alone.
        done: is told of each item that is done, one at a time.
    """
    crew = _Crew(items, task, size_of, done)
    # Daemons: a request to a server that says nothing must not hold up a run that was told to stop.
    threads = [
        threading.Thread(target=crew.work, name=f"kdcache-share-{i}", daemon=True)
        for i in range(min(jobs, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        crew.stop()
        latest = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(0.0, latest - time.monotonic()))
        raise
    if crew.error is not None:
        raise crew.error


class _Crew(Generic[T]):
    def __init__(
        self,
        items: Sequence[T],
        task: Callable[[T], None],
        size_of: Callable[[T], int] | None,
        done: Callable[[T], None] | None,
    ) -> None:
        self.error: BaseException | None = None
        self._items = iter(items)
        self._task, self._size_of, self._done = task, size_of, done
        self._over = threading.Event()
        self._bytes = 0
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    def work(self) -> None:
        """Take items until there are none, or one has failed."""
        for item, size in iter(self._next, None):
            try:
                self._task(item)
                self._tell(item)
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                self._fail(error)
            finally:
                self._give_back(size)

    def stop(self) -> None:
        """Let no thread take another item."""
        with self._changed:
            self._over.set()
            self._changed.notify_all()

    def _next(self) -> tuple[T, int] | None:
        # One thread at a time chooses, so that a large item is not passed by small ones for ever.
        with self._turn, self._changed:
            if self._over.is_set():
                return None
            taken = next(self._items, None)
            if taken is None:
                return None
            size = self._size_of(taken) if self._size_of else 0
            self._changed.wait_for(
                lambda: self._over.is_set() or not self._bytes or self._bytes + size <= _BYTES_IN_FLIGHT
            )
            if self._over.is_set():
                return None
            self._bytes += size
            return taken, size

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self.error = self.error or error
            self._over.set()

    def _tell(self, item: T) -> None:
        with self._changed:
            if self._done and not self._over.is_set():
                self._done(item)

    def _give_back(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()
