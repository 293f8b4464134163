"""Threads that read what a loader will want soon, while it renders what it wants now."""

import os
import queue
import threading
from collections.abc import Hashable
from typing import Any

from kdcache.store.read_once import ReadOnce

__all__ = ["ReadAhead"]

_THREADS = 8

_Asked = tuple[ReadOnce[Any], tuple[Hashable, ...]]


class ReadAhead:
    """Reads in the order in which it is asked, some at a time.

    The threads are started by the first read in a process, and never hold up its end.
    """

    def __init__(self) -> None:
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
        while len(self._threads) < _THREADS:
            thread = threading.Thread(
                target=_run, args=(self._asked,), name="kdcache-read-ahead", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        self._asked.put((reads, key))


def _run(asked: "queue.SimpleQueue[_Asked]") -> None:
    while True:
        reads, key = asked.get()
        reads.ahead(*key)
