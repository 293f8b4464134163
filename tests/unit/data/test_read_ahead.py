import gc
import os
import threading
import time
from collections.abc import Callable

from kdcache.data.read_ahead import ReadAhead
from kdcache.store.read_once import ReadOnce


def _wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_was_asked_for_is_there_when_it_is_wanted() -> None:
    threads: list[str] = []

    def read(key: int) -> int:
        threads.append(threading.current_thread().name)
        return key + 1

    reads, ahead = ReadOnce(read, size=4), ReadAhead()
    ahead.ask(reads, 1)
    ahead.ask(reads, 2)
    _wait_for(lambda: len(reads) == 2)
    ahead.ask(reads, 1)
    assert [reads(1), reads(2)] == [2, 3]
    assert threads == ["kdcache-read-ahead"] * 2


def test_reads_are_done_side_by_side() -> None:
    together = threading.Barrier(4, timeout=30)
    reads, ahead = ReadOnce(lambda key: together.wait(), size=4), ReadAhead()
    for key in range(4):
        ahead.ask(reads, key)
    assert sorted(reads(key) for key in range(4)) == [0, 1, 2, 3]


def test_an_error_is_for_whoever_wants_the_result_and_ends_no_thread() -> None:
    def read(key: int) -> int:
        if key == 0:
            raise OSError("gone")
        return key

    reads, ahead = ReadOnce(read, size=4), ReadAhead()
    for key in (0, *range(1, 20)):
        ahead.ask(reads, key)
    _wait_for(lambda: len(reads) == 4)


def test_what_nobody_wants_any_more_is_not_read() -> None:
    go_on = threading.Event()
    asked: list[int] = []
    busy, ahead = ReadOnce(lambda _: go_on.wait(30), size=1), ReadAhead(threads=1)
    dropped = ReadOnce(asked.append, size=1)
    ahead.ask(busy, 0)
    ahead.ask(dropped, 1)
    del dropped
    gc.collect()
    go_on.set()
    ahead.ask(busy, 2)
    _wait_for(lambda: (2,) in busy._kept)
    assert not asked


def test_the_threads_end_with_it() -> None:
    ahead = ReadAhead()
    ahead.ask(ReadOnce(len, size=1), "abc")
    threads = list(ahead._threads)
    del ahead
    gc.collect()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_fork_has_threads_of_its_own() -> None:
    reads, ahead = ReadOnce(len, size=4), ReadAhead()
    ahead.ask(reads, "abc")
    _wait_for(lambda: len(reads) == 1)
    child = os.fork()
    if child == 0:
        ahead.ask(reads, "abcd")
        while ("abcd",) not in reads:
            time.sleep(0.005)
        os._exit(0 if reads("abcd") == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
