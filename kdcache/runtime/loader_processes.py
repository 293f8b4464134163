"""Processes of torch's loaders: what they need of the machine, which signals they heed, how they end or are lost."""

import contextlib
import functools
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import util
from typing import Any, Final, TypeVar

from kdcache.errors import ConfigError, InterruptedRunError
from kdcache.runtime.interrupt import Interrupts

__all__ = ["lost_processes_explained", "process_settings", "received"]

T = TypeVar("T")

_SIGNAL_SECONDS: Final = 0.3
"""How much later than its loader processes the main process may hear of a signal to them all."""

_DEATH_SECONDS: Final = 5.0
"""How much later than a process's socket its death may be known."""

_LONGEST_ADDRESS: Final = 107
_NAME_BELOW: Final = len("/pymp-12345678/listener-12345678")


def process_settings(processes: int) -> dict[str, Any]:
    """Return the arguments of a ``DataLoader`` for so many processes, which end with this one.

    Raises:
        ConfigError: they cannot work with this temporary folder.
    """
    _demand_room_for_sockets(processes)
    if processes:
        _end_at_exit(os.getpid())
    return {"num_workers": processes, "worker_init_fn": _leave_signals_to_the_main_process}


def received(items: Iterable[T], *, processes: int) -> Iterator[T]:
    """Yield what a loader gives; a process that dies with an array half handed over is a dead process.

    Raises:
        RuntimeError: in torch's words, or in words like torch's: ``lost_processes_explained`` knows both.
    """
    try:
        yield from items
    except (EOFError, ConnectionError) as error:
        if not processes or "DataLoader worker" in str(error):
            raise  # it met the error, and told so
        time.sleep(_DEATH_SECONDS)  # torch's signal handler raises here, and knows what killed it
        raise RuntimeError(f"a DataLoader worker closed its socket: {error!r}") from error


@contextlib.contextmanager
def lost_processes_explained(
    interrupts: Interrupts, standing: Callable[[], str], *, name: str, remedy: str
) -> Iterator[None]:
    """Turn torch's error about a dead loader process, which a signal handler raises anywhere, into ours.

    Args:
        interrupts: a signal to the whole process group may kill them, too: then that is what happened.
        standing: says where the run stands.
        name: what the processes are called here.
        remedy: what to do if memory ran out.

    Raises:
        InterruptedRunError: a loader process was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        time.sleep(_SIGNAL_SECONDS)
        interrupts.raise_if_requested(standing())
        reason = str(error).partition("\n")[0]
        raise InterruptedRunError(
            f"a {name} process died: {reason}; if memory ran out, {remedy}. {standing()}"
        ) from error


def _demand_room_for_sockets(processes: int) -> None:
    """Refuse a temporary folder whose name is too long for the sockets by which processes hand over their batches.

    multiprocessing makes them there, and a loader process that cannot make one says so on stderr and goes on: whoever
    waits for its batch would wait for ever.

    Raises:
        ConfigError: it is too long, and there are to be processes.
    """
    folder = tempfile.gettempdir()
    room = _LONGEST_ADDRESS - _NAME_BELOW
    if processes and len(os.fsencode(folder)) > room:
        raise ConfigError(
            f"the temporary folder {folder} has a name of {len(os.fsencode(folder))} bytes, but loader processes can "
            f"hand over batches only below one of at most {room}; set TMPDIR to a shorter one, or work without them "
            "(--workers 0 in training, --readers 0 in stage one)"
        )


@functools.cache
def _end_at_exit(_pid: int) -> None:
    # Runs before multiprocessing waits, for ever, for processes that do not heed its SIGTERM.
    util.Finalize(None, _end_processes, exitpriority=10)


def _end_processes() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise here
    for child in multiprocessing.active_children():
        if child.daemon:  # as all of a loader are; others may have something to finish
            child.kill()


def _leave_signals_to_the_main_process(_worker: int) -> None:
    # Ctrl-C reaches the whole process group, a scheduler's SIGTERM often does. Only the main process decides
    # what they mean; loader processes end when it tells them to, or when it is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
