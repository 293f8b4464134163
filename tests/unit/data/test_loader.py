from pathlib import Path

import numpy as np
import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.loader import distill_loader
from kdcache.errors import ConfigError, MissingViewError
from kdcache.store.reader import open_cache
from tests.support.real_cache import formula_logits, make_real_cache
from tests.support.shards import write_shards

Order = list[tuple[str, int]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [40, 33, 27])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Path:
    return make_real_cache(tmp_path_factory.mktemp("cache") / "c.zarr", shards, rows_per_block=16)


def order_of(shards: list[str], cache: Path, *, epoch: int = 0, start: int = 0, **settings: object) -> Order:
    loader = distill_loader(shards, cache=cache, batch_size=8, shuffle_window=16, **settings)  # type: ignore[arg-type]
    batches = list(loader.epoch(epoch, start=start))
    return [(key, int(s)) for b in batches for key, s in zip(b.keys, b.aug_seeds_B, strict=True)]


def test_a_batch_holds_the_views_the_teacher_saw_and_its_targets(shards: list[str], cache: Path) -> None:
    loader = distill_loader(shards, cache=cache, batch_size=8)
    batch = next(iter(loader.epoch(0)))
    expected_BC = np.stack([formula_logits(image.numpy(), 10) for image in batch.images_B3HW])
    top_B = batch.teacher.top_class_B.numpy()
    assert (expected_BC[np.arange(8), top_B] == expected_BC.max(axis=1)).all()
    assert batch.num_checked == 8
    assert [int(key[1:]) % 10 for key in batch.keys] == batch.labels_B.tolist()


def test_zero_and_three_workers_give_the_same_order(shards: list[str], cache: Path) -> None:
    assert order_of(shards, cache, num_workers=3) == order_of(shards, cache)


def test_two_ranks_together_see_what_one_sees(shards: list[str], cache: Path) -> None:
    whole = order_of(shards, cache)
    halves = [order_of(shards, cache, world=2, rank=rank) for rank in range(2)]
    batches = [half[i : i + 8] for i in range(0, len(halves[0]), 8) for half in halves]
    assert [place for batch in batches for place in batch] == whole[: sum(map(len, halves))]


def test_an_epoch_continues_in_the_middle(shards: list[str], cache: Path) -> None:
    assert order_of(shards, cache, epoch=1, start=3) == order_of(shards, cache, epoch=1)[24:]


def test_every_seed_is_used_once_in_as_many_epochs(shards: list[str], cache: Path) -> None:
    seen = [place for epoch in range(4) for place in order_of(shards, cache, epoch=epoch)]
    assert len(set(seen)) == len(seen)


def test_labels_only_reads_no_targets(shards: list[str], cache: Path) -> None:
    loader = distill_loader(shards, cache=cache, batch_size=8, with_targets=False)
    assert next(iter(loader.epoch(0))).teachers == {}


def test_one_shard_of_a_cache_is_enough(shards: list[str], cache: Path) -> None:
    assert distill_loader(shards[1:2], cache=cache, batch_size=8).num_samples == 33


def test_mixed_pairs_stay_together_and_match_the_cache(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    path = make_real_cache(tmp_path / "mixed.zarr", shards, policy=policy, rows_per_block=64)
    loader = distill_loader(shards, cache=path, batch_size=8, check_views=1)
    batches = list(loader.epoch(0))
    assert sum(batch.num_checked for batch in batches) == 96
    lam = torch.cat([b.lam_B for b in batches if b.lam_B is not None])
    assert 0.0 < float(lam.min()) < 1.0
    assert float(lam.max()) <= 1.0


def test_odd_batches_are_refused_under_a_mixing_policy(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    path = make_real_cache(tmp_path / "mixed.zarr", shards[:1], policy=policy, rows_per_block=64)
    with pytest.raises(ConfigError, match="even batch size"):
        distill_loader(shards[:1], cache=path, batch_size=7)


def test_a_cache_without_a_finished_unit_is_refused(tmp_path: Path, shards: list[str]) -> None:
    path = make_real_cache(tmp_path / "c.zarr", shards[:1], groups=())
    with pytest.raises(MissingViewError, match="run kdcache precompute"):
        distill_loader(shards[:1], cache=path, batch_size=8)


def test_unfinished_groups_are_left_out(tmp_path: Path, shards: list[str]) -> None:
    path = make_real_cache(tmp_path / "c.zarr", shards[:1], seeds_per_group=1, groups=(0, 2))
    seeds = {seed for epoch in range(4) for _, seed in order_of(shards[:1], path, epoch=epoch)}
    assert seeds == {0, 2}
    assert open_cache(path).committed_groups("formula", 0) == (0, 2)


def test_too_large_a_batch_is_refused(shards: list[str], cache: Path) -> None:
    with pytest.raises(ConfigError, match="smaller batch size"):
        distill_loader(shards, cache=cache, batch_size=101)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views_per_decode": 3}, "views_per_decode is 3, expected 1, 2 or 4"),
        ({"rank": 2, "world": 2}, "rank is 2 in a world of 2, expected 0 to 1"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"check_views": 0}, "check_views is 0, expected at least 1"),
        ({"lanes": 0}, "lanes is 0"),
        ({"shuffle_window": 0}, "shuffle_window is 0"),
        ({"teachers": ["vit"]}, r"has no teacher 'vit'; it has formula"),
        ({"snapshot": {99: [0]}}, r"names block 99 of the cache .*, which these shards do not hold"),
    ],
)
def test_settings_without_sense_are_refused(
    shards: list[str], cache: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        distill_loader(shards, cache=cache, **({"batch_size": 8} | settings))  # type: ignore[arg-type]


def test_a_run_goes_on_with_the_seeds_that_it_began_with(shards: list[str], cache: Path) -> None:
    blocks = distill_loader(shards, cache=cache, batch_size=8).snapshot
    few = dict.fromkeys(blocks, (1,))
    assert {seed for epoch in range(3) for _, seed in order_of(shards, cache, epoch=epoch, snapshot=few)} == {
        1
    }


def test_seeds_come_in_aligned_runs(tmp_path: Path, shards: list[str]) -> None:
    path = make_real_cache(tmp_path / "c.zarr", shards[:1], seeds_per_group=1, groups=(0, 1, 3))
    seeds = {
        seed for epoch in range(3) for _, seed in order_of(shards[:1], path, epoch=epoch, views_per_decode=2)
    }
    assert seeds == {0, 1}
    with pytest.raises(
        MissingViewError, match=r"no finished unit of 4 views per decode .*choose fewer views"
    ):
        distill_loader(shards[:1], cache=path, batch_size=8, views_per_decode=4)


def test_a_pass_leaves_torchs_random_state_alone(shards: list[str], cache: Path) -> None:
    before = torch.random.get_rng_state()
    order_of(shards, cache)
    order_of(shards, cache, num_workers=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_epoch_that_is_left_early_does_not_disturb_the_next(shards: list[str], cache: Path) -> None:
    loader = distill_loader(shards, cache=cache, batch_size=8, num_workers=2)
    next(loader.epoch(0))
    seen = [key for batch in loader.epoch(1) for key in batch.keys]
    alone = distill_loader(shards, cache=cache, batch_size=8)
    assert seen == [key for batch in alone.epoch(1) for key in batch.keys]


def test_workers_compute_with_one_thread_each() -> None:
    loader = torch.utils.data.DataLoader(_Threads(), batch_size=None, num_workers=1)
    assert list(loader) == [1]


class _Threads(torch.utils.data.Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> int:
        return torch.get_num_threads()
