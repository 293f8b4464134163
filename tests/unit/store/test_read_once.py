import os
import threading
import time

import pytest

from kdcache.store.read_once import ReadOnce


class _Reads:
    """Counts reads; ``error`` is raised instead, ``gate`` holds them up."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, key: int) -> int:
        self.keys.append(key)
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return key * key


def test_the_last_results_are_kept() -> None:
    reads = _Reads()
    squares = ReadOnce(reads, size=2)
    assert [squares(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 4, 1, 9, 1, 4]
    assert reads.keys == [1, 2, 3, 2]
    assert len(squares) == 2
    squares.grow(3)
    squares.forget(1)
    assert [squares(key) for key in (1, 2, 3)] == [1, 4, 9]
    assert reads.keys == [1, 2, 3, 2, 1, 3]
    assert len(squares) == 3


def test_threads_that_want_the_same_read_it_once() -> None:
    reads = _Reads()
    squares = ReadOnce(reads, size=1)
    reads.gate.clear()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(squares(7))) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    reads.gate.set()
    for thread in threads:
        thread.join()
    assert (found, reads.keys) == ([49] * 4, [7])


def test_an_error_is_raised_and_not_kept() -> None:
    reads = _Reads()
    squares = ReadOnce(reads, size=1)
    reads.error = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        squares(2)
    reads.error = None
    assert squares(2) == 4


def test_an_error_ahead_is_for_the_call_that_needs_it() -> None:
    reads = _Reads()
    squares = ReadOnce(reads, size=1)
    reads.error = OSError("gone")
    squares.ahead(2)
    squares.ahead(2)
    reads.error = None
    with pytest.raises(OSError, match="gone"):
        squares(2)
    squares.ahead(2)
    assert squares(2) == 4
    assert reads.keys == [2, 2]


def test_a_fork_does_not_wait_for_what_its_parents_threads_were_reading() -> None:
    reads = _Reads()
    squares = ReadOnce(reads, size=1)
    reads.gate.clear()
    thread = threading.Thread(target=squares.ahead, args=(3,))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        reads.gate = threading.Event()
        reads.gate.set()
        os._exit(0 if squares(3) == 9 else 1)
    reads.gate.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
