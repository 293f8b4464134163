"""Views to look at again: all of them once, or some from everywhere."""

from pathlib import Path

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.data.cached_samples import CachedSamples
from kdcache.data.committed import Snapshot
from kdcache.data.recheck import joined_samples
from kdcache.data.sampling import all_looks, looks_at, num_views, some_looks
from kdcache.store.reader import open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards

Place = tuple[int, int, int]


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CachedSamples, Snapshot]:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    shards = write_shards(tmp_path, [70, 5])
    policy = ViewPolicy.named("rrc", size=8, mixing={})
    cache = make_real_cache(tmp_path / "c", shards, policy=policy, num_aug_seeds=6, rows_per_block=64)
    return joined_samples(shards, open_cache(cache))


def places(looks: object) -> list[Place]:
    return [(look.block, row, seed) for look in looks for row in look.rows for seed in look.aug_seeds]  # type: ignore[attr-defined]


def test_all_looks_see_every_view_once(joined: tuple[CachedSamples, Snapshot]) -> None:
    samples, seeds = joined
    seen = places(all_looks(samples, seeds))
    assert len(seen) == len(set(seen)) == num_views(samples, seeds) == 75 * 6


def test_some_looks_take_whole_pairs_from_every_part(joined: tuple[CachedSamples, Snapshot]) -> None:
    samples, seeds = joined
    looks = list(some_looks(samples, seeds, 30))
    assert len(looks) == 15
    assert {len(look.rows) for look in looks} <= {1, 2}
    assert {look.block for look in looks} >= {0, 2}
    assert len({look.aug_seeds for look in looks}) > 3


def test_the_same_cache_gives_the_same_sample(joined: tuple[CachedSamples, Snapshot]) -> None:
    assert list(some_looks(*joined, 20)) == list(some_looks(*joined, 20))


def test_more_than_there_is_gives_what_there_is(joined: tuple[CachedSamples, Snapshot]) -> None:
    assert len(places(looks_at(*joined, 10_000))) == 75 * 6
