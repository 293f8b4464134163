"""Loader processes: a folder that they cannot work in, signals to all, and what kills one of them."""

import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from kdcache.errors import ConfigError, InterruptedRunError
from kdcache.runtime import loader_processes
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.loader_processes import lost_processes_explained, process_settings, received


def _folder_of(length: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    base = Path(tempfile.mkdtemp(prefix="kd-"))
    folder = base / ("x" * (length - len(str(base)) - 1))
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)  # type: ignore[attr-defined]
    return folder


def test_a_name_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder_of(76, monkeypatch)
    with pytest.raises(ConfigError, match=rf"{folder.name} has a name of 76 bytes.*at most 75; set TMPDIR"):
        process_settings(1)
    process_settings(0)
    with pytest.raises(OSError, match="path too long"):
        Listener(family="AF_UNIX")


def test_a_name_that_is_just_short_enough_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    _folder_of(75, monkeypatch)
    process_settings(1)
    Listener(family="AF_UNIX").close()


class _Items(Dataset[Any]):
    """Items that a function makes, in the loader's process."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> Any:
        return self._make(number)


def _from_one_process(make: Callable[[int], Any]) -> Iterator[Any]:
    loader: DataLoader[Any] = DataLoader(
        _Items(make), batch_size=None, sampler=range(3), **process_settings(1)
    )
    return received(loader, processes=1)


def _ended_by(number: signal.Signals) -> int:
    os.kill(os.getpid(), number)
    return number


def test_signals_to_all_are_the_main_process_s_business() -> None:
    assert list(_from_one_process(lambda _: _ended_by(signal.SIGTERM))) == [signal.SIGTERM] * 3
    assert list(_from_one_process(lambda _: _ended_by(signal.SIGINT))) == [signal.SIGINT] * 3


class _TornItem:
    """Cannot be received: what handed it over has closed its socket, as the dying do before they are dead."""

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _end_of_file, ()


def _end_of_file() -> None:
    raise EOFError


def _torn(_: int) -> _TornItem:
    return _TornItem()


def _torn_and_then_killed(_: int) -> _TornItem:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return _TornItem()


@pytest.mark.parametrize(
    ("make", "seconds", "reason"),
    [
        (lambda _: _ended_by(signal.SIGKILL), 30.0, "DataLoader worker"),
        (_torn_and_then_killed, 30.0, "killed by signal: Killed"),
        (_torn, 0.1, "EOFError"),
    ],
)
def test_a_process_that_dies_before_or_while_it_hands_an_item_over_is_named(
    make: Callable[[int], Any], seconds: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_processes, "_DEATH_SECONDS", seconds)
    with (
        pytest.raises(
            InterruptedRunError, match=rf"a loader process died: .*{reason}.* fewer\. All is well"
        ) as caught,
        lost_processes_explained(Interrupts(), lambda: "All is well", name="loader", remedy="use fewer"),
    ):
        list(_from_one_process(make))
    traceback.clear_frames(caught.tb)  # a loader ends at once where no frame holds it


def test_a_process_that_died_of_a_signal_to_all_is_not_to_blame() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        with (
            pytest.raises(InterruptedRunError, match="stopped by SIGTERM: all is well"),
            lost_processes_explained(interrupts, lambda: "all is well", name="loader", remedy=""),
        ):
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")


def test_other_errors_are_not_explained_away() -> None:
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        lost_processes_explained(Interrupts(), str, name="loader", remedy=""),
    ):
        raise RuntimeError("out of memory")


def _unreachable(_: int) -> None:
    raise ConnectionResetError("the network")


def test_what_a_process_meets_on_a_network_is_not_its_death() -> None:
    with pytest.raises(ConnectionResetError, match="the network") as caught:
        list(_from_one_process(_unreachable))
    traceback.clear_frames(caught.tb)
    with pytest.raises(ConnectionResetError, match="the network"):
        list(received(map(_unreachable, range(1)), processes=0))
