"""Evaluation: every sample once, in order, or a word about why not."""

from pathlib import Path

import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.evaluation import EvalLoader, eval_loader
from kdcache.errors import BadImageError, ConfigError, MissingViewError, ShardError
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard, write_shards

POLICY = ViewPolicy.named("center", size=24)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [7, 5])


def keys(loader: EvalLoader) -> list[str]:
    return [key for batch in loader for key in batch.keys]


ALL = [f"s{number:05d}" for number in range(12)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_sample_comes_once_in_shard_order(shards: list[str], num_workers: int) -> None:
    loader = eval_loader(shards, policy=POLICY, batch_size=5, num_workers=num_workers)
    assert keys(loader) == keys(loader) == ALL
    assert [len(batch) for batch in loader] == [5, 5, 2]
    assert (len(loader), loader.num_samples) == (3, 12)


def test_ranks_share_the_batches(shards: list[str]) -> None:
    loaders = [eval_loader(shards, policy=POLICY, batch_size=2, world=4, rank=rank) for rank in range(4)]
    assert sorted(key for loader in loaders for key in keys(loader)) == ALL


def test_a_cache_gives_its_own_views_and_targets(tmp_path: Path, shards: list[str]) -> None:
    cache = make_real_cache(tmp_path / "c.zarr", shards, policy=POLICY, num_aug_seeds=1, rows_per_block=64)
    joined = list(eval_loader(shards, cache=cache, batch_size=5))
    plain = list(eval_loader(shards, policy=POLICY, batch_size=5))
    for one, other in zip(joined, plain, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.images_B3HW, other.images_B3HW)
        assert torch.equal(one.labels_B, other.labels_B)
        assert len(one.teacher.top1_B) == len(one)


def test_a_cache_that_lacks_a_part_is_refused(tmp_path: Path, shards: list[str]) -> None:
    cache = make_real_cache(tmp_path / "c.zarr", shards, seeds_per_group=1, groups=(1, 2), rows_per_block=64)
    with pytest.raises(
        MissingViewError, match=r"lacks aug_seed 0 of 2 of the 2 blocks .* finish kdcache precompute"
    ):
        eval_loader(shards, cache=cache)


def test_bad_images_are_left_out_or_refused(tmp_path: Path) -> None:
    shard = str(write_shard(tmp_path / "t.tar", range(4), images={1: b"<html>"}))
    assert keys(eval_loader(shard, policy=POLICY, batch_size=2)) == ["s00000", "s00002", "s00003"]
    with pytest.raises(BadImageError, match=r"t\.tar: s00001"):
        keys(eval_loader(shard, policy=POLICY, on_bad_sample="fail"))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_without_one_good_image_is_left_out(tmp_path: Path, num_workers: int) -> None:
    shard = str(write_shard(tmp_path / "t.tar", range(7), images=dict.fromkeys([2, 3, 6], b"<html>")))
    loader = eval_loader(shard, policy=POLICY, batch_size=2, num_workers=num_workers)
    assert [batch.keys for batch in loader] == [("s00000", "s00001"), ("s00004", "s00005")]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_label_that_is_no_class_is_refused_in_its_own_words(shards: list[str], num_workers: int) -> None:
    with pytest.raises(
        ShardError, match=rf"^{shards[0]}: s00005\.cls holds '5', expected a class number from 0 to 4"
    ):
        keys(eval_loader(shards, policy=POLICY, num_classes=5, num_workers=num_workers))


def test_a_policy_or_a_cache_is_needed_and_not_both(tmp_path: Path, shards: list[str]) -> None:
    for settings in ({}, {"policy": POLICY, "cache": tmp_path}):
        with pytest.raises(ConfigError, match="a view policy or a cache"):
            eval_loader(shards, **settings)  # type: ignore[arg-type]


def test_mixed_views_are_refused(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    cache = make_real_cache(tmp_path / "m.zarr", shards, policy=policy, rows_per_block=64)
    with pytest.raises(ConfigError, match="mixes samples; evaluate on"):
        eval_loader(shards, cache=cache)


def test_a_policy_that_mixes_is_refused(shards: list[str]) -> None:
    with pytest.raises(ConfigError, match="the view policy mixes samples; evaluate on unmixed views"):
        eval_loader(shards, policy=ViewPolicy.named("rrc", size=24, mixing={}))


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"rank": 1}, {"rank": -1, "world": 2}])
def test_numbers_without_sense_are_refused(shards: list[str], settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected batches of at least 1 and ranks counted from 0"):
        eval_loader(shards, policy=POLICY, **settings)  # type: ignore[arg-type]


def test_evaluation_leaves_torchs_random_state_alone(shards: list[str]) -> None:
    before = torch.random.get_rng_state()
    keys(eval_loader(shards, policy=POLICY))
    assert torch.equal(before, torch.random.get_rng_state())
