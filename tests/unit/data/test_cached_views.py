"""Batches of a cache's views: whole cells, decoded once, mixed as the teacher saw them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.loader import distill_loader
from kdcache.views import decode_for
from tests.support.real_cache import formula_logits, make_real_cache
from tests.support.shards import write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [21, 13])


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("caches")
    mixed = ViewPolicy.named("rrc", size=24, mixing={})
    return {
        False: make_real_cache(folder / "plain.zarr", shards, num_aug_seeds=8, rows_per_block=16),
        True: make_real_cache(
            folder / "mixed.zarr", shards, num_aug_seeds=8, rows_per_block=64, policy=mixed
        ),
    }


@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("views", [1, 2, 4])
def test_views_of_a_decode_are_those_of_the_cache(
    shards: list[str], caches: dict[bool, Path], mixing: bool, views: int
) -> None:
    loader = distill_loader(
        shards, cache=caches[mixing], batch_size=8, views_per_decode=views, check_views=1, shuffle_window=16
    )
    batches = list(loader.epoch(0))
    assert len(batches) == 34 * views // 8
    for batch in batches:
        assert batch.num_checked == len(batch) == 8
        expected_BC = np.stack([formula_logits(image.numpy(), 10) for image in batch.images_B3HW])
        top_B = batch.teacher.top_class_B.numpy()
        assert (expected_BC[np.arange(8), top_B] == expected_BC.max(axis=1)).all()
        assert (batch.lam_B is not None) == mixing


def test_a_sample_is_decoded_once_for_all_its_views(
    shards: list[str], caches: dict[bool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def decode(policy: ViewPolicy, encoded: bytes, *, where: str) -> object:
        decoded.append(where)
        return decode_for(policy, encoded, where=where)

    monkeypatch.setattr("kdcache.data.cached_views.decode_for", decode)
    loader = distill_loader(shards, cache=caches[True], batch_size=16, views_per_decode=4)
    views = sum(len(batch) for batch in loader.epoch(0))
    assert len(decoded) == len(set(decoded)) == views // 4


def test_partners_swap_labels_under_one_weight(shards: list[str], caches: dict[bool, Path]) -> None:
    loader = distill_loader(shards, cache=caches[True], batch_size=8, views_per_decode=2)
    mixed = 0
    for batch in loader.epoch(0):
        assert batch.lam_B is not None
        assert batch.partner_labels_B is not None
        for i in (batch.lam_B < 1).nonzero()[:, 0].tolist():
            partners = [
                j
                for j in range(len(batch))
                if j != i
                and batch.lam_B[j] == batch.lam_B[i]
                and batch.aug_seeds_B[j] == batch.aug_seeds_B[i]
            ]
            assert batch.partner_labels_B[i] in batch.labels_B[partners]
            mixed += 1
        assert (batch.partner_labels_B[batch.lam_B == 1] == -1).all()
    assert mixed > 8


def test_a_worker_gets_views_without_open_files(shards: list[str], caches: dict[bool, Path]) -> None:
    loader = distill_loader(shards, cache=caches[False], batch_size=8)
    first = next(iter(loader.epoch(0)))
    copy = pickle.loads(pickle.dumps(loader._batches))  # noqa: S301
    again = copy[0, 0]
    assert again.keys == first.keys
    assert torch.equal(again.images_B3HW, first.images_B3HW)


def test_blocks_at_hand_follow_the_lanes_that_a_worker_serves(
    shards: list[str], caches: dict[bool, Path]
) -> None:
    settings = {"cache": caches[False], "batch_size": 2, "shuffle_window": 1}
    alone = distill_loader(shards, **settings)  # type: ignore[arg-type]
    many = distill_loader(shards, world=3, num_workers=0, **settings)  # type: ignore[arg-type]
    assert alone.plan(0).num_lanes == 3
    assert (alone.plan(0).blocks_open(1), many.plan(0).blocks_open(3)) == (9, 3)
    assert alone.plan(0).blocks_open(1, reads_ahead=False) == 6
