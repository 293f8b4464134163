"""SIGTERM and SIGINT as a question that a run asks itself at its own safe points."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from kdcache.errors import InterruptedRunError

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Notes the first SIGTERM or SIGINT inside a ``with`` block; the second one acts as if we were not here.

    Outside the main thread Python allows no handlers: nothing is ever requested then.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._signal: int | None = None

    def __enter__(self) -> Self:
        """Take over both signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give both signals back."""
        self._restore()

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
            raise InterruptedRunError(f"stopped by {signal.Signals(self._signal).name}: {message}")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
