"""A pipeline of webdataset's gets the same views and targets as our own loader."""

import gc
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from webdataset.compat import WebDataset

from kdcache.config.views import ViewPolicy
from kdcache.data.batch import DistillBatch
from kdcache.data.collate import collate_joined
from kdcache.data.loader import distill_loader
from kdcache.data.webdataset_join import CachedJoin, join_cached
from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError, ShardError, ViewMismatchError
from kdcache.losses import kl
from kdcache.views import render_views
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_members, write_shard, write_shards
from tests.support.stores import make_manifest, make_store

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's own


@pytest.fixture(autouse=True, scope="module")
def collected() -> Iterator[None]:
    """Let the files that webdataset leaves open go while that warning is ignored."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [20, 9, 12])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Path:
    """Write a cache of two groups of two seeds, and more than one block a shard."""
    path = tmp_path_factory.mktemp("cache") / "c.zarr"
    return make_real_cache(path, shards, rows_per_block=16, seeds_per_group=2)


def _pipeline(shards: Sequence[str], stage: CachedJoin, **settings: Any) -> Any:
    return WebDataset(list(shards), shardshuffle=False, **settings).compose(stage)


def _all(pipeline: Iterable[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    return {(sample["__key__"], sample["aug_seed"]): sample for sample in pipeline}


@pytest.mark.parametrize("epoch", [0, 3])
def test_views_seeds_and_targets_are_those_of_distill_loader(
    shards: list[str], cache: Path, epoch: int
) -> None:
    stage = join_cached(cache, shards, run_seed=5)
    stage.set_epoch(epoch)
    joined = _all(_pipeline(shards, stage))
    (batch,) = distill_loader(shards, cache=cache, batch_size=41, run_seed=5).epoch(epoch)
    assert joined.keys() == set(zip(batch.keys, batch.aug_seeds_B.tolist(), strict=True))
    ordered = collate_joined(
        [joined[key, seed] for key, seed in zip(batch.keys, batch.aug_seeds_B.tolist(), strict=True)]
    )
    assert torch.equal(ordered.images_B3HW, batch.images_B3HW)
    assert torch.equal(ordered.labels_B, batch.labels_B)
    assert ordered.keys == batch.keys
    logits_BC = torch.randn(41, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        kl(logits_BC, ordered.teacher, temperature=2.0), kl(logits_BC, batch.teacher, temperature=2.0)
    )


def test_every_seed_comes_once_in_as_many_epochs_as_there_are_views(shards: list[str], cache: Path) -> None:
    stage = join_cached(cache, shards)
    pipeline, seen = _pipeline(shards, stage), []
    for epoch in range(4):
        stage.set_epoch(epoch)
        seen += [(sample["__key__"], sample["aug_seed"]) for sample in pipeline]
    assert len(seen) == len(set(seen)) == 4 * 41


def test_workers_that_persist_follow_the_epoch_and_are_counted(shards: list[str], cache: Path) -> None:
    stage = join_cached(cache, shards, check_views=1)
    pipeline = _pipeline(shards, stage).batched(8, collation_fn=collate_joined)
    loader: Any = DataLoader(pipeline, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        stage.set_epoch(epoch)
        batches = list(loader)
        assert all(isinstance(batch, DistillBatch) for batch in batches)
        seen = {
            pair for batch in batches for pair in zip(batch.keys, batch.aug_seeds_B.tolist(), strict=True)
        }
        assert seen == _all(_pipeline(shards, stage)).keys()
    assert stage.counts.joined == 4 * 41
    assert stage.counts.checked == 4 * 41


def test_several_views_of_a_sample_are_consecutive_seeds(shards: list[str], cache: Path) -> None:
    joined = list(_pipeline(shards[:1], join_cached(cache, shards, views_per_sample=2)))
    assert len(joined) == 40
    for one, other in zip(joined[::2], joined[1::2], strict=True):
        assert one["__key__"] == other["__key__"]
        assert one["aug_seed"] % 2 == 0
        assert other["aug_seed"] == one["aug_seed"] + 1


def test_a_choice_of_ones_own_is_by_key_and_epoch(shards: list[str], cache: Path) -> None:
    def last_digit(key: str, epoch: int, committed: Sequence[int]) -> Sequence[int]:
        return [committed[(int(key[-1]) + epoch) % len(committed)]]

    stage = join_cached(cache, shards, seeds=last_digit)
    stage.set_epoch(1)
    assert all(seed == (int(key[-1]) + 1) % 4 for key, seed in _all(_pipeline(shards, stage)))
    with pytest.raises(ConfigError, match="chose aug_seed 9 for sample 's00000' in epoch 0"):
        next(iter(_pipeline(shards, join_cached(cache, shards, seeds=lambda *_: [9]))))


def test_only_committed_seeds_are_chosen(tmp_path: Path, shards: list[str]) -> None:
    half = make_real_cache(tmp_path / "half.zarr", shards, seeds_per_group=2, groups=[1])
    stage = join_cached(half, shards)
    for epoch in range(3):
        stage.set_epoch(epoch)
        assert {seed for _, seed in _all(_pipeline(shards, stage))} <= {2, 3}
    with pytest.raises(MissingViewError, match="no finished unit of 4 consecutive views"):
        join_cached(half, shards, views_per_sample=4)


@pytest.mark.parametrize("names_are_given", [True, False])
def test_shards_packed_anew_are_joined_by_key(
    tmp_path: Path, shards: list[str], cache: Path, names_are_given: bool
) -> None:
    packed = [
        str(write_shard(tmp_path / "a.tar", range(1, 41, 2))),
        str(write_shard(tmp_path / "b.tar", range(0, 41, 2))),
    ]
    anew = _all(_pipeline(packed, join_cached(cache, packed if names_are_given else None)))
    plain = _all(_pipeline(shards, join_cached(cache, shards)))
    assert anew.keys() == plain.keys()
    assert all(torch.equal(anew[place]["image"], plain[place]["image"]) for place in plain)


def test_samples_that_the_cache_lacks_are_an_error_or_counted(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    more = [*shards, str(write_shard(tmp_path / "more.tar", range(100, 105)))]
    with pytest.raises(MissingViewError, match=r"more.tar: sample 's00100': .* does not know it"):
        list(_pipeline(more, join_cached(cache, more)))
    stage = join_cached(cache, more, on_unknown="skip")
    assert len(list(_pipeline(more, stage))) == 41
    assert stage.counts.unknown == 5


def test_samples_whose_block_is_not_finished_are_told_from_strangers(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    stage = join_cached(cache, shards)
    stage.snapshot.pop(1)
    with pytest.raises(MissingViewError, match="has no committed views of it"):
        list(_pipeline(shards, stage))


def test_samples_that_stage_one_could_not_decode_are_skipped_or_an_error(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr", make_manifest())
    (name, *_) = [shard.name for shard in join_cached(cache).cache.identity.shards]
    sample = {"__key__": "s0-0004", "__url__": f"/data/{name}", "png": b"no picture"}
    stage = join_cached(cache)
    assert list(stage([sample])) == []
    assert stage.counts.bad == 1
    with pytest.raises(ShardError, match="could not be decoded in stage one"):
        list(join_cached(cache, on_bad="error")([sample]))


def test_other_bytes_or_labels_than_the_cached_ones_are_refused(
    tmp_path: Path, shards: list[str], cache: Path
) -> None:
    sample = next(iter(WebDataset(shards[0], shardshuffle=False)))
    stage = join_cached(cache, shards)
    assert len(list(stage([sample | {"cls": 0}]))) == 1
    with pytest.raises(ManifestMismatchError, match="s00000: its image has other bytes"):
        list(stage([sample | {"png": sample["png"] + b"\0"}]))
    with pytest.raises(ManifestMismatchError, match="its label is '3', not 0 as in the cache"):
        list(stage([sample | {"cls": b"3"}]))
    del sample["cls"]
    assert next(stage([sample]))["label"] == 0


def test_a_view_that_is_rendered_otherwise_is_refused(
    shards: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kdcache.data.webdataset_join.render_views", lambda *words: 255 - render_views(*words)
    )
    with pytest.raises(ViewMismatchError, match="not the one that the teacher saw"):
        next(iter(_pipeline(shards, join_cached(cache, shards))))


def test_a_policy_that_mixes_pairs_is_refused(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.parse({"preset": "light", "size": 24, "mixing": {"mixup_alpha": 0.2}}, where="test")
    mixed = make_real_cache(tmp_path / "m.zarr", shards, policy=policy, rows_per_block=64, num_aug_seeds=4)
    with pytest.raises(ConfigError, match=r"mixed from pairs .* use kdcache.distill_loader"):
        join_cached(mixed, shards)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, s: join_cached(c, s, teachers=["x"]), "has no teacher 'x'; it has formula"),
        (lambda c, s: join_cached(c, s, views_per_sample=0), "views_per_sample is 0"),
        (lambda c, s: join_cached(c, "pipe:cat a.tar"), "is a command"),
        (lambda c, s: list(join_cached(c)([{"__key__": "a", "__url__": "pipe:cat a.tar"}])), "is a command"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shards: list[str], cache: Path, call: Callable[[Path, list[str]], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        call(cache, shards)


def test_a_pipe_is_read_where_it_is_asked_for(shards: list[str], cache: Path) -> None:
    urls = [f"pipe:cat {shards[1]}"]
    assert len(list(_pipeline(urls, join_cached(cache, urls, allow_pipe=True)))) == 9


def test_a_pickled_member_stays_the_bytes_that_it_is(tmp_path: Path, shards: list[str], cache: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    image = next(iter(WebDataset(shards[0], shardshuffle=False)))["png"]
    bomb = pickle.dumps(Bomb())
    shard = write_members(tmp_path / "train-000.tar", [("s00000.png", image), ("s00000.pyd", bomb)])
    (joined,) = _pipeline([str(shard)], join_cached(cache, str(shard)))
    assert joined["pyd"] == bomb
    assert not (tmp_path / "exploded").exists()


def test_an_image_that_is_decoded_already_is_refused(shards: list[str], cache: Path) -> None:
    pipeline = WebDataset(shards, shardshuffle=False).decode("pil").compose(join_cached(cache, shards))
    with pytest.raises(ShardError, match=r"its \.png is decoded already"):
        next(iter(pipeline))


def test_a_stage_travels_to_a_spawned_worker(shards: list[str], cache: Path) -> None:
    stage = pickle.loads(pickle.dumps(join_cached(cache, shards)))  # noqa: S301 - our own
    assert _all(_pipeline(shards, stage)).keys() == _all(_pipeline(shards, join_cached(cache, shards))).keys()
