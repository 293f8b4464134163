"""Which Ray a run uses, as far as it can be told without one."""

import sys
from pathlib import Path

import pytest

from kdcache.errors import ConfigError
from kdcache.precompute.ray_cluster import connected
from kdcache.runtime.interrupt import Interrupts
from tests.support.precompute_runs import config_for


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    config = config_for(tmp_path / "c.zarr", ["a.tar"], engine="ray")
    with (
        pytest.raises(ConfigError, match=r"pip install 'kdcache\[ray\]'"),
        connected(config, Interrupts(), lambda: ""),
    ):
        pass
