"""A cache grows in place: nothing that is there changes, nobody who reads it notices."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdcache.data.loader import distill_loader
from kdcache.errors import ConfigError, ManifestMismatchError, StoreError
from kdcache.precompute import PrecomputeReport, extension_of, precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from kdcache.train import train
from kdcache.views import render_views
from tests.support.precompute_runs import TINY, config_for, data_objects, invoke, start
from tests.support.shards import write_shard, write_shards
from tests.support.training import losses_of, small_config

OTHER = {"model": TINY, "name": "other", "kwargs": {"seed": 7}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Path:
    precompute(config_for(tmp_path / "c.zarr", shards), quiet=True)
    return tmp_path / "c.zarr"


def _extend(cache: Path, shards: list[str], **changes: Any) -> PrecomputeReport:
    settings = {
        "shards": shards,
        "cache": str(cache),
        "teachers": [{"model": TINY}],
        "readers": 0,
        "device": "cpu",
        "teacher_check": False,
    }
    return precompute(extension_of(settings | changes, where="test"), grow=True, quiet=True)


def _unchanged(cache: Path, before: dict[str, bytes]) -> bool:
    return {path: (cache / path).read_bytes() for path in before} == before


def test_views_are_added_behind_those_that_are_there(tmp_path: Path, shards: list[str], cache: Path) -> None:
    before, reader = data_objects(cache), open_cache(cache)
    report = _extend(cache, shards, views=8)
    assert (report.units, report.units_before) == (6, 6)
    assert _unchanged(cache, before)
    assert reader.targets("tiny_cnn", 0, 3).valid_N.any()
    at_once = config_for(tmp_path / "at-once.zarr", shards, views=8)
    precompute(at_once, quiet=True)
    assert data_objects(cache) == data_objects(tmp_path / "at-once.zarr")
    assert open_cache(cache).content_id() == open_cache(tmp_path / "at-once.zarr").content_id()
    verify(cache)


def test_teachers_are_added_beside_those_that_are_there(shards: list[str], cache: Path) -> None:
    before = data_objects(cache)
    assert _extend(cache, shards, teachers=[OTHER]).units == 6
    assert _unchanged(cache, before)
    assert open_cache(cache).teachers == ("tiny_cnn", "other")
    verify(cache)


def test_shards_are_added_without_the_old_ones_at_hand(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    before, reader = data_objects(cache), open_cache(cache)
    new = str(write_shard(tmp_path / "new.tar", range(100, 111)))
    for shard in shards:
        Path(shard).rename(f"{shard}.away")
    assert _extend(cache, [new]).units == 4
    assert _unchanged(cache, before)
    assert [entry.name for entry in open_cache(cache).identity.shards] == [
        "train-000.tar",
        "train-001.tar",
        "new.tar",
    ]
    assert open_cache(cache).lookup("s00105", 2).valid_N.all()
    assert reader.lookup("s00003", 2).valid_N.all()
    verify(cache)


def test_everything_at_once_ends_in_the_cache_that_was_made_in_one_go(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    new = str(write_shard(tmp_path / "new.tar", range(100, 111)))
    _extend(cache, [*shards, new], views=6, teachers=[{"model": TINY}, OTHER])
    at_once = config_for(tmp_path / "o.zarr", [*shards, new], views=6, teachers=[{"model": TINY}, OTHER])
    precompute(at_once, quiet=True)
    assert open_cache(cache).content_id() == open_cache(tmp_path / "o.zarr").content_id()


def test_extending_twice_changes_nothing(shards: list[str], cache: Path) -> None:
    _extend(cache, shards, views=8)
    content_id = open_cache(cache).content_id()
    assert _extend(cache, shards, views=8).units == 0
    assert open_cache(cache).content_id() == content_id


def test_a_later_teacher_has_to_see_the_same_pixels(
    shards: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def darker(key: str, image: Any, seeds: Any, policy: Any) -> Any:
        return np.maximum(render(key, image, seeds, policy), 1) - 1

    from kdcache.precompute import reader

    render = render_views
    monkeypatch.setattr(reader, "render_views", darker)
    with pytest.raises(StoreError, match=r"sample 's00000' under aug_seed 0 renders to other pixels"):
        _extend(cache, shards, teachers=[OTHER])
    assert not open_cache(cache).is_committed("other/0-0")


def test_a_loader_that_was_opened_before_goes_on(shards: list[str], cache: Path) -> None:
    wanted = [batch.images_B3HW for batch in _loader(shards, cache).epoch(0)]
    batches = iter(_loader(shards, cache).epoch(0))
    seen = [next(batches).images_B3HW]
    _extend(cache, shards, views=8, teachers=[{"model": TINY}, OTHER])
    seen += [batch.images_B3HW for batch in batches]
    assert all(torch.equal(one, other) for one, other in zip(seen, wanted, strict=True))


def _loader(shards: list[str], cache: Path) -> Any:
    return distill_loader(shards, cache=cache, batch_size=4, num_workers=0)


@pytest.mark.slow
def test_a_training_that_started_before_is_undisturbed(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    alone = small_config(tmp_path / "alone", shards, cache, steps=100)
    train(alone)
    beside = tmp_path / "beside"
    process = start(["train", "--config", str(Path(alone.out) / "args.yaml"), "--out", str(beside)])
    deadline = time.monotonic() + 60
    while not (beside / "log.jsonl").exists() or len(losses_of(beside)) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    _extend(cache, shards, views=8, teachers=[{"model": TINY}, OTHER])
    assert len(losses_of(beside)) < 100, "the training was over before the cache grew"
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert losses_of(beside) == losses_of(alone.out)


def test_training_may_start_on_the_seeds_that_are_committed(
    tmp_path: Path, shards: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdcache.store.writer import CacheWriter

    write = CacheWriter.write_targets

    def stop_at_new_seeds(
        self: CacheWriter, teacher: str, block: int, group: int, *rest: Any, **more: Any
    ) -> Any:
        if group == 3:
            raise StoreError("killed here")
        return write(self, teacher, block, group, *rest, **more)

    monkeypatch.setattr(CacheWriter, "write_targets", stop_at_new_seeds)
    with pytest.raises(StoreError, match="killed here"):
        _extend(cache, shards, views=8)
    config = small_config(tmp_path, shards, cache, steps=4)
    train(config)
    assert len(losses_of(config.out)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": 5}, "in whole groups of 2"),
        ({"views": 2}, "expected 4 "),
        ({"policy": "center"}, "policy is fixed"),
        ({"seeds_per_group": 4}, "seeds_per_group is fixed"),
    ],
)
def test_what_cannot_grow_is_refused(
    shards: list[str], cache: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _extend(cache, shards, **changes)


def test_a_changed_shard_is_refused(tmp_path: Path, shards: list[str], cache: Path) -> None:
    write_shard(Path(shards[0]), range(50, 63))
    with pytest.raises(ManifestMismatchError, match=r"shards\[0\].digest"):
        _extend(cache, shards, views=8)


def test_there_has_to_be_a_cache(tmp_path: Path, shards: list[str]) -> None:
    result = invoke(["extend", *shards, "--cache", str(tmp_path / "none"), "--teacher", TINY, "--views", "8"])
    assert result.exit_code == 3
    assert "there is no cache at" in result.stderr
    assert not (tmp_path / "none").exists()


def test_the_command_says_what_it_added(shards: list[str], cache: Path) -> None:
    words = ["--cache", str(cache), "--teacher", TINY, "--views", "8", "--readers", "0", "--quiet"]
    result = invoke(["extend", *shards, *words])
    assert result.exit_code == 0, result.stderr
    assert "complete; 6 units committed (6 were there before)" in result.stdout
