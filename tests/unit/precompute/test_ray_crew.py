"""Which actors a run has, and what they are told."""

import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import ConfigError
from kdcache.precompute.prepare import Settings
from kdcache.precompute.ray_crew import Crew, actor_config, crew_of, own_paths
from tests.support.precompute_runs import config_for
from tests.support.shards import write_shards

BIG = {"CPU": 64.0, "GPU": 8.0}
HEAD = {"CPU": 4.0}


def _config(**changes: Any) -> PrecomputeConfig:
    settings = {"shards": "a.tar", "cache": "c.zarr", "teachers": "m:f", "engine": "ray"}
    return PrecomputeConfig.parse({**settings, **changes}, where="test")


@pytest.mark.parametrize(
    ("changes", "nodes", "crew"),
    [
        ({}, [HEAD, BIG, BIG], Crew(("cuda",) * 16, 8)),
        ({}, [HEAD, HEAD, HEAD], Crew(("cpu",) * 3, 1)),
        ({"device": "cpu"}, [HEAD, BIG], Crew(("cpu",) * 2, 1)),
        ({"workers": 3}, [HEAD], Crew(("cpu",) * 3, 3)),
        ({"workers": 3, "device": "cuda"}, [HEAD, BIG], Crew(("cuda",) * 3, 3)),
        ({"devices": "cuda:0,cuda:1"}, [BIG], Crew(("cuda",) * 2, 2)),
    ],
)
def test_a_crew_has_an_actor_a_device(
    changes: dict[str, Any], nodes: list[dict[str, float]], crew: Crew
) -> None:
    assert crew_of(_config(**changes), nodes, own="cpu") == crew


def test_more_gpus_than_the_cluster_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="has 8 GPUs, expected 9"):
        crew_of(_config(workers=9, device="cuda"), [HEAD, BIG], own="cpu")
    with pytest.raises(ConfigError, match="has 0 GPUs, expected 1"):
        crew_of(_config(device="cuda"), [HEAD], own="cpu")


def test_what_is_installed_is_not_among_the_users_own_paths(tmp_path: Path) -> None:
    installed = [sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]]
    found = own_paths(["", *installed, "lab", str(tmp_path), "lab"], here="/home/me")
    assert found == ("/home/me", "/home/me/lab", str(tmp_path))


def test_an_actor_is_told_paths_that_hold_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    write_shards(tmp_path / "shards", [3, 2])
    monkeypatch.chdir(tmp_path)
    teacher = {"model": "m:f", "checkpoint": "w.pth", "class_map": "map.csv"}
    settings = Settings.of(
        config_for(Path("c.zarr"), ["shards/train-{000..001}.tar"], teachers=[teacher], engine="ray")
    )
    told = actor_config(settings, "cuda", 4)
    assert told.shards == tuple(str(tmp_path / "shards" / f"train-00{n}.tar") for n in (0, 1))
    assert told.cache == str(tmp_path / "c.zarr")
    assert told.teachers[0].checkpoint == tmp_path / "w.pth"
    assert told.teachers[0].class_map == tmp_path / "map.csv"
    assert (told.engine, told.device, told.num_workers) == ("local", "cuda", 4)


def test_a_cache_in_an_object_store_keeps_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    shards = write_shards(tmp_path / "shards", [3])
    settings = Settings.of(config_for(tmp_path / "c.zarr", shards, engine="ray"))
    config = settings.config.model_copy(update={"cache": "s3://bucket/c.zarr"})
    assert actor_config(replace(settings, config=config), "cpu", 1).cache == "s3://bucket/c.zarr"
