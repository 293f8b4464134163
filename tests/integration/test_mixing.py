"""Mixed views are the same pixels for the teacher and for every student, whatever reads them and how."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.data.loader import distill_loader
from kdcache.precompute import precompute
from kdcache.store.reader import open_cache
from kdcache.views import view_digest
from tests.support.precompute_runs import config_for
from tests.support.shards import write_shard, write_shards

POLICY = ViewPolicy.named("rrc", size=24, mixing={})

Digests = dict[tuple[str, int], int]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three shards; one picture is broken, and two windows have an odd number of good samples."""
    folder = tmp_path_factory.mktemp("shards")
    paths = write_shards(folder, [70, 65, 33])
    write_shard(Path(paths[2]), range(135, 168), images={140: b"not a picture"})
    return paths


def run(cache: Path, shards: list[str], **changes: int) -> Path:
    many = {"views": 6, "seeds_per_group": 6, "rows_per_block": 64, "batch_size": 16}
    precompute(config_for(cache, shards, policy=POLICY, **(many | changes)), quiet=True)
    return cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Path:
    return run(tmp_path_factory.mktemp("cache") / "c.zarr", shards)


def seen(shards: list[str], cache: Path, *, batch_size: int, epoch: int = 0, **settings: Any) -> Digests:
    """Return the digest of every view that some loaders yield in an epoch, each checked against the cache."""
    world = settings.pop("world", 1)
    digests: Digests = {}
    for rank in range(world):
        loader = distill_loader(
            shards, cache=cache, batch_size=batch_size, world=world, rank=rank, check_views=1, **settings
        )
        for batch in loader.epoch(epoch):
            assert batch.num_checked == len(batch)
            for key, seed, image in zip(
                batch.keys, batch.aug_seeds_B.tolist(), batch.images_B3HW, strict=True
            ):
                digests[key, seed] = view_digest(image.numpy())
    return digests


def cached(cache: Path) -> Iterator[tuple[str, int, int]]:
    opened = open_cache(cache)
    for block in opened.blocks:
        table = opened.samples(block.index)
        for seed in range(opened.identity.num_aug_seeds):
            digests_R = opened.view_digests(block.index, seed)
            for row, key in enumerate(table.keys):
                yield key, seed, int(digests_R[row])


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 2},
        {"batch_size": 8, "num_workers": 1},
        {"batch_size": 64},
        {"batch_size": 8, "num_workers": 4},
        {"batch_size": 2, "world": 2},
        {"batch_size": 8, "world": 4},
        {"batch_size": 8, "shuffle_window": 1, "lanes": 1},
        {"batch_size": 8, "shuffle_window": 1000, "epoch": 3},
    ],
)
def test_students_see_the_mixed_views_of_the_teacher(
    settings: dict[str, int], shards: list[str], cache: Path
) -> None:
    stored = {(key, seed): digest for key, seed, digest in cached(cache)}
    digests = seen(shards, cache, **settings)
    assert len(digests) > 100
    assert all(stored[place] == digest for place, digest in digests.items())


def test_one_more_shard_changes_no_mixed_view(tmp_path: Path, shards: list[str], cache: Path) -> None:
    more = str(write_shard(tmp_path / "train-003.tar", range(168, 240)))
    extended = dict_of(run(tmp_path / "more.zarr", [*shards, more]))
    assert all(extended[place] == digest for place, digest in dict_of(cache).items())


def test_readers_and_batch_size_of_stage_one_change_no_mixed_view(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    assert dict_of(run(tmp_path / "c.zarr", shards, readers=2, batch_size=7)) == dict_of(cache)


def test_a_bad_sample_leaves_its_partner_unmixed(shards: list[str], cache: Path) -> None:
    loader = distill_loader(shards[2:], cache=cache, batch_size=2)
    keys = [key for epoch in range(6) for batch in loader.epoch(epoch) for key in batch.keys]
    assert "s00140" not in keys
    assert open_cache(cache).samples(4).failures() == {"undecodable": 1}


def test_labels_of_mixed_views_carry_the_partner_and_lambda(shards: list[str], cache: Path) -> None:
    for batch in distill_loader(shards, cache=cache, batch_size=8).epoch(0):
        assert batch.lam_B is not None
        assert batch.partner_labels_B is not None
        is_mixed_B = batch.lam_B < 1.0
        assert (batch.partner_labels_B[is_mixed_B] >= 0).all()
        assert (batch.partner_labels_B[~is_mixed_B] == -1).all()


def dict_of(cache: Path) -> Digests:
    return {(key, seed): digest for key, seed, digest in cached(cache)}
