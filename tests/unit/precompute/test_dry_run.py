"""A dry run as a library call: what it rests on, and what it leaves open."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.precompute import probe
from kdcache.precompute.dry_run import dry_run
from kdcache.precompute.dry_run_report import DryRun
from tests.support.precompute_runs import config_for
from tests.support.shards import write_shards


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(probe, "_SECONDS", 0.01)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


def _found(tmp_path: Path, shards: list[str], **changes: Any) -> DryRun:
    found = dry_run(config_for(tmp_path / "c.zarr", shards, **changes), quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "shards"]
    return found


def test_all_but_the_time_is_the_same_again_with_any_readers(tmp_path: Path, shards: list[str]) -> None:
    one, other = _found(tmp_path, shards), _found(tmp_path, shards, readers=2, parallel_batches=2)
    untimed = {"cnn": replace(one.teachers["tiny_cnn"], views_per_second=None)}
    assert untimed == {"cnn": replace(other.teachers["tiny_cnn"], views_per_second=None)}
    assert replace(one, time=None, teachers={}) == replace(other, time=None, teachers={})


def test_the_pilot_is_as_large_as_the_settings_say(tmp_path: Path, shards: list[str]) -> None:
    pilot = _found(tmp_path, shards, check_samples=8).pilot
    assert pilot is not None
    assert (pilot.samples, pilot.views) == (8, 8)


def test_workers_on_a_cpu_share_both_parts(tmp_path: Path, shards: list[str]) -> None:
    time = _found(tmp_path, shards, workers=2).time
    assert time is not None
    assert (time.rates.workers, time.rates.devices, time.rates.overlaps) == (2, 2, False)


def test_settings_are_checked_as_by_a_run(tmp_path: Path, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match="use --views 1"):
        _found(tmp_path, shards, policy="center")
