"""Signals become a question."""

import os
import signal
import threading

import pytest

from kdcache.errors import InterruptedRunError
from kdcache.runtime.interrupt import Interrupts


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_noted_and_raised_at_a_safe_point(name: str) -> None:
    with Interrupts() as interrupts:
        interrupts.raise_if_requested("not yet")
        os.kill(os.getpid(), getattr(signal, name))
        assert interrupts.requested
        with pytest.raises(InterruptedRunError, match=f"stopped by {name}: 3 of 9 units are committed"):
            interrupts.raise_if_requested("3 of 9 units are committed")


def test_a_second_signal_acts_as_usual() -> None:
    # A shell starts what it runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupts.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_another_thread_nothing_is_requested() -> None:
    seen: list[bool] = []

    def run() -> None:
        with Interrupts() as interrupts:
            seen.append(interrupts.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


def test_code_that_takes_every_exception_for_its_own_does_not_take_a_signal() -> None:
    def careless() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception as error:
            raise ValueError("not mine") from error

    with (
        pytest.raises(InterruptedRunError, match="stopped by SIGTERM: nothing was written"),
        Interrupts() as interrupts,
        interrupts.anywhere(lambda: "nothing was written"),
    ):
        careless()


def test_a_run_that_comes_to_no_safe_point_is_stopped_where_it_is() -> None:
    def careless() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            signal.pause()
        except Exception as error:
            raise ValueError("not mine") from error

    with (
        pytest.raises(
            InterruptedRunError, match="stopped by SIGTERM: it did not come to a safe point in time"
        ),
        Interrupts(patience=0.05),
    ):
        careless()
