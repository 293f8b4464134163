"""A folder that loader processes cannot work in is named before they are started."""

import multiprocessing
import tempfile
from multiprocessing.connection import Listener
from pathlib import Path

import pytest

from kdcache.errors import ConfigError
from kdcache.runtime.loader_processes import demand_room_for_sockets


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
        demand_room_for_sockets(1)
    demand_room_for_sockets(0)
    with pytest.raises(OSError, match="path too long"):
        Listener(family="AF_UNIX")


def test_a_name_that_is_just_short_enough_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    _folder_of(75, monkeypatch)
    demand_room_for_sockets(1)
    Listener(family="AF_UNIX").close()
