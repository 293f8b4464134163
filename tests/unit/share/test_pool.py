"""Many at once: all of them, in order, within a limit, and not after an error."""

import threading
import time

import pytest

import kdcache.share.pool
from kdcache.share.pool import in_parallel


def test_every_item_is_done_and_told_once() -> None:
    seen: list[int] = []
    told: list[int] = []
    in_parallel(range(100), seen.append, jobs=4, done=told.append)
    assert sorted(seen) == sorted(told) == list(range(100))


def test_nothing_to_do_starts_no_thread() -> None:
    before = threading.active_count()
    in_parallel([], lambda _: None, jobs=4)
    assert threading.active_count() == before


def test_one_thread_keeps_the_order() -> None:
    seen: list[int] = []
    in_parallel(range(20), seen.append, jobs=1)
    assert seen == list(range(20))


def test_the_first_error_ends_it() -> None:
    seen: list[int] = []

    def task(number: int) -> None:
        seen.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        in_parallel(range(100), task, jobs=1)
    assert seen == [0, 1, 2, 3]


def test_an_error_of_who_is_told_is_raised_too() -> None:
    def done(_: int) -> None:
        raise BrokenPipeError("no terminal")

    with pytest.raises(BrokenPipeError):
        in_parallel(range(3), lambda _: None, jobs=2, done=done)


def test_bytes_in_flight_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdcache.share.pool, "_BYTES_IN_FLIGHT", 10)
    lock, flying, most = threading.Lock(), [0], [0]

    def task(size: int) -> None:
        with lock:
            flying[0] += size
            most[0] = max(most[0], flying[0] if flying[0] != size else min(size, 10))
        time.sleep(0.002)
        with lock:
            flying[0] -= size

    in_parallel([4, 4, 4, 25, 4, 4, 7, 3] * 3, task, jobs=8, size_of=lambda size: size)
    assert 4 < most[0] <= 10


def test_an_interrupt_lets_no_thread_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        monkeypatch.setattr(threading.Thread, "join", join)
        raise KeyboardInterrupt

    def task(number: int) -> None:
        time.sleep(0.01)
        seen.append(number)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_parallel(range(1000), task, jobs=2)
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count < 1000
