"""SIGTERM and SIGINT as a question that a run asks itself at its own safe points."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from kdcache.errors import InterruptedRunError

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Stop(BaseException):
    """Raised out of a signal handler, hence anywhere: no ``except Exception`` may take it for its own error."""


class Interrupts:
    """Notes the first SIGTERM or SIGINT inside a ``with`` block; the second one acts as if we were not here.

    Outside the main thread Python allows no handlers: nothing is ever requested then.

    Args:
        patience: seconds after which a run that has not come to a safe point is stopped where it is; None
            waits for ever.
    """

    def __init__(self, *, patience: float | None = None) -> None:
        self._before: dict[int, Any] = {}
        self._signal: int | None = None
        self._patience = patience
        self._standing: Callable[[], str] | None = None

    def __enter__(self) -> Self:
        """Take over both signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
            if self._patience is not None:
                self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back.

        Raises:
            InterruptedRunError: the run's patience was over.
        """
        self._restore()
        if isinstance(error, _Stop):
            raise InterruptedRunError(str(error)) from None

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self._signal is not None

    def raise_if_requested(self, message: str) -> None:
        """Stop here if a signal has come.

        Raises:
            InterruptedRunError: naming the signal, then ``message``.
        """
        if self._signal is not None:
            raise InterruptedRunError(self._reason(message))

    @contextlib.contextmanager
    def anywhere(self, standing: Callable[[], str]) -> Iterator[None]:
        """Let a signal stop the ``with`` block wherever it is, because nothing in it can be left half done.

        Raises:
            InterruptedRunError: naming the signal, then what ``standing`` says.
        """
        self._standing = standing
        self.raise_if_requested(standing())
        try:
            yield
        except _Stop as stop:
            raise InterruptedRunError(str(stop)) from None
        finally:
            self._standing = None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        if self._patience is not None:
            signal.setitimer(signal.ITIMER_REAL, self._patience)
        for one in _SIGNALS:
            signal.signal(one, self._before.pop(one))
        if self._standing is not None:
            raise _Stop(self._reason(self._standing()))

    def _give_up(self, _number: int, _frame: FrameType | None) -> None:
        raise _Stop(
            self._reason("it did not come to a safe point in time; whole units are committed and stay")
        )

    def _reason(self, message: str) -> str:
        name = "nothing" if self._signal is None else signal.Signals(self._signal).name
        return f"stopped by {name}: {message}"

    def _restore(self) -> None:
        if signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
