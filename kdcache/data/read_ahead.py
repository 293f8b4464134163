"""Threads that read what a loader will want soon, while it renders what it wants now."""

import os
import queue
import threading
import weakref
from collections.abc import Hashable
from typing import Any

from kdcache.store.read_once import ReadOnce

__all__ = ["ReadAhead"]

_THREADS = 8

_Asked = tuple["weakref.ref[ReadOnce[Any]]", tuple[Hashable, ...]] | None
"""What waits to be read must not keep a loader alive."""


class ReadAhead:
    """Reads in the order in which it is asked, some at a time.

    The threads are started by the first read in a process. They end with this object, and never hold up the end of
    the process.
    """

    def __init__(self, *, threads: int = _THREADS) -> None:
        self._num_threads = threads
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._threads: list[threading.Thread] = []
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()

    def ask(self, reads: ReadOnce[Any], *key: Hashable) -> None:
        """Let a thread do ``reads.ahead(*key)``, unless that was read or is read just now."""
        if key in reads:
            return
        if self._process != os.getpid():
            self._begin()
        if not self._threads:
            weakref.finalize(self, _end, self._asked, self._num_threads)
        while len(self._threads) < self._num_threads:
            thread = threading.Thread(
                target=_run, args=(self._asked,), name="kdcache-read-ahead", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._asked.put((weakref.ref(reads), key))


def _run(asked: "queue.SimpleQueue[_Asked]") -> None:
    while (next_one := asked.get()) is not None:
        reads, key = next_one[0](), next_one[1]
        if reads is not None:
            reads.ahead(*key)
        del next_one, reads, key


def _end(asked: "queue.SimpleQueue[_Asked]", threads: int) -> None:
    for _ in range(threads):
        asked.put(None)
