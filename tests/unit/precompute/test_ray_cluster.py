"""Which Ray a run uses, as far as it can be told without one."""

import socket
import sys
from pathlib import Path

import pytest

from kdcache.errors import ConfigError
from kdcache.precompute.ray_cluster import connected
from kdcache.runtime.interrupt import Interrupts
from tests.support.precompute_runs import config_for


@pytest.fixture(autouse=True)
def _with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray reads it once in a process: what is imported here must not decide for other tests.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = config_for(tmp_path / "c.zarr", ["a.tar"], engine="ray")
    with (
        pytest.raises(ConfigError, match=r"pip install 'kdcache\[ray\]'"),
        connected(config, Interrupts(), lambda: ""),
    ):
        pass


def test_an_address_where_nobody_listens_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        config = config_for(tmp_path / "c.zarr", ["a.tar"], engine="ray", ray_address=address)
        with (
            pytest.raises(ConfigError, match=f"cannot use Ray at '{address}'"),
            connected(config, Interrupts(), lambda: ""),
        ):
            pass
