"""Shards and a cache put together."""

from pathlib import Path

import pytest

from kdcache.data.joined import joined_views
from kdcache.errors import MissingViewError
from kdcache.store.layout import INDEX_PATH, record_path
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard, write_shards


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [5, 4])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    return open_cache(make_real_cache(tmp_path / "c.zarr", shards, num_aug_seeds=2, rows_per_block=64))


def test_all_good_samples_of_the_given_shards_count(shards: list[str], cache: Cache) -> None:
    views, seeds = joined_views(shards[1:], cache, teachers=None, check_views=1)
    assert (views.num_samples, views.blocks, seeds) == (4, (1,), {1: (0, 1)})


def test_samples_that_were_packed_anew_count_where_they_are(tmp_path: Path, cache: Cache) -> None:
    packed = str(write_shard(tmp_path / "some.tar", [1, 6, 3]))
    views, seeds = joined_views([packed], cache, teachers=None, check_views=1)
    assert (views.num_samples, sorted(seeds)) == (3, [0, 1])
    assert views.cells(0, 0).main.tolist() == [[1], [3]]


def test_a_snapshot_of_samples_that_are_gone_is_refused(shards: list[str], cache: Cache) -> None:
    folder = Path(cache.url.removeprefix("file://"))
    for path in (INDEX_PATH, record_path("samples/1")):
        (folder / path).unlink()
    with pytest.raises(MissingViewError, match=r"samples of block 1 are not in the cache .* any more"):
        joined_views(
            shards, open_cache(folder), teachers=None, check_views=1, snapshot={0: (0, 1), 1: (0, 1)}
        )
