"""Which shards belong to a cache, and what is said of those that don't."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.data.index import index_shard
from kdcache.data.join import BlockSource, join_shards
from kdcache.data.loader import distill_loader
from kdcache.errors import ManifestMismatchError
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import picture as picture_of
from tests.support.shards import write_members, write_shard, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [20, 9, 12])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Cache:
    path = make_real_cache(tmp_path_factory.mktemp("cache") / "c.zarr", shards, rows_per_block=16)
    return open_cache(path)


def join(shards: Iterable[str | Path], cache: Cache) -> dict[int, BlockSource]:
    return join_shards([index_shard(str(url)) for url in shards], cache)


def keys_by_row(shards: Sequence[str | Path], cache: Cache) -> list[tuple[str, str]]:
    """Return (key in the cache, key in the shard) of everything that is joined."""
    indexes = [index_shard(str(url)) for url in shards]
    pairs = []
    for number, source in join_shards(indexes, cache).items():
        rows = range(source.block.num_rows) if source.places is None else source.places
        for row in rows:
            shard, shard_row = source.place(row)
            pairs.append((cache.samples(number).keys[row], indexes[shard].key(shard_row)))
    return pairs


def test_shards_are_joined_by_position_in_any_order(shards: list[str], cache: Cache) -> None:
    pairs = keys_by_row(shards[::-1], cache)
    assert len(pairs) == 41
    assert all(cached == found for cached, found in pairs)
    assert all(source.places is None for source in join(shards, cache).values())


def test_some_of_a_caches_shards_are_enough(shards: list[str], cache: Cache) -> None:
    assert list(join(shards[1:2], cache)) == [2]


def test_a_renamed_shard_is_known_by_its_members(tmp_path: Path, shards: list[str], cache: Cache) -> None:
    other = tmp_path / "other-name.tar"
    other.write_bytes(Path(shards[0]).read_bytes())
    assert list(join([other], cache)) == [0, 1]


def test_samples_in_another_order_are_joined_by_key_with_a_notice(
    tmp_path: Path, shards: list[str], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_shard(tmp_path / "train-000.tar", [*range(10, 20), *range(10)])
    with caplog.at_level(logging.WARNING):
        pairs = keys_by_row([other, shards[1]], cache)
    assert len(pairs) == 29
    assert all(cached == found for cached, found in pairs)
    assert "1 of 2 shards are not packed as the cache knows them" in caplog.text
    assert "slower" in caplog.text


def test_shards_packed_anew_give_the_same_batches(tmp_path: Path, shards: list[str], cache: Cache) -> None:
    packed = [
        write_shard(tmp_path / "a.tar", range(1, 41, 2)),
        write_shard(tmp_path / "b.tar", range(0, 41, 2)),
    ]

    def views(urls: Sequence[str | Path]) -> dict[tuple[str, int], tuple[float, ...]]:
        loader = distill_loader([str(url) for url in urls], cache=cache, batch_size=1, check_views=1)
        return {
            (batch.keys[0], int(batch.aug_seeds_B[0])): tuple(batch.teacher.logits_BK[0].tolist())
            for batch in loader.epoch(0)
        }

    assert views(packed) == views(shards)
    assert len(views(packed)) == 41


def refusal(shards: Iterable[str | Path], cache: Cache) -> str:
    with pytest.raises(ManifestMismatchError) as caught:
        join(shards, cache)
    return str(caught.value)


def test_a_sample_too_many_is_named(tmp_path: Path, shards: list[str], cache: Cache) -> None:
    other = write_shard(tmp_path / "train-001.tar", [*range(20, 29), 77])
    message = refusal([shards[0], other], cache)
    assert "train-001.tar holds 1 samples that the cache" in message
    assert "the first is 's00077' (the cache's train-001.tar has 9 samples and member digest" in message
    assert "this one 10 and" in message
    assert "restore the shard, or precompute a cache for these shards" in message


def test_a_missing_sample_is_named(tmp_path: Path, cache: Cache) -> None:
    other = write_shard(tmp_path / "train-001.tar", range(20, 28))
    message = refusal([other], cache)
    assert "train-001.tar lacks 1 samples that the cache" in message
    assert "the first is 's00028'" in message


def test_a_shard_of_other_samples_is_refused(tmp_path: Path, cache: Cache) -> None:
    other = write_shard(tmp_path / "val-000.tar", range(500, 504))
    message = refusal([other], cache)
    assert "val-000.tar holds 4 samples that the cache" in message
    assert "no shard of the cache has this name or these members" in message


def test_a_key_in_two_unknown_shards_is_refused(tmp_path: Path, cache: Cache) -> None:
    packed = [write_shard(tmp_path / "a.tar", [3, 4]), write_shard(tmp_path / "b.tar", [4, 5])]
    assert "samples can be joined by key only if keys are unique" in refusal(packed, cache)


def numbered(path: Path, first_picture: int, num_samples: int) -> str:
    """Write a shard whose keys and sizes are like any other's: only the pixels tell them apart."""
    members = []
    for number in range(num_samples):
        pixels = picture_of(first_picture + number).tobytes()
        members += [(f"{number:04d}.ppm", b"P6 40 36 255\n" + pixels), (f"{number:04d}.cls", b"1")]
    path.parent.mkdir(parents=True, exist_ok=True)
    return str(write_members(path, members))


@pytest.fixture
def alike(tmp_path: Path) -> list[str]:
    return [numbered(tmp_path / f"train-{shard:03d}.tar", 10 * shard, 3) for shard in range(3)]


def test_names_decide_between_shards_of_equal_members(tmp_path: Path, alike: list[str]) -> None:
    cache = open_cache(make_real_cache(tmp_path / "c.zarr", alike, rows_per_block=64))
    renamed = numbered(tmp_path / "other.tar", 10, 3)
    sources = join([renamed, alike[2], alike[0]], cache)
    assert {number: source.shard for number, source in sources.items()} == {0: 2, 1: 0, 2: 1}


def test_a_changed_shard_whose_keys_are_in_several_others_is_refused(
    tmp_path: Path, alike: list[str]
) -> None:
    cache = open_cache(make_real_cache(tmp_path / "c.zarr", alike, rows_per_block=64))
    shorter = numbered(tmp_path / "new" / "train-001.tar", 10, 2)
    message = refusal([shorter], cache)
    assert "new/train-001.tar is not packed as the cache" in message
    assert "the cache's train-001.tar has 3 samples and member digest" in message
    assert "its key '0000' is in the cache's train-000.tar and train-001.tar" in message


def test_a_renamed_sample_is_named(tmp_path: Path, cache: Cache) -> None:
    other = write_shard(tmp_path / "train-001.tar", [*range(20, 24), 99, *range(25, 29)])
    message = refusal([other], cache)
    assert "holds 1 samples that the cache" in message
    assert "the first is 's00099'" in message
    assert "a sample was added or renamed" in message


def test_shards_packed_anew_are_refused_where_neighbours_are_mixed(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    path = make_real_cache(tmp_path / "m.zarr", shards[1:2], policy=policy, rows_per_block=64)
    other = write_shard(tmp_path / "train-001.tar", [*range(21, 29), 20])
    message = refusal([other], open_cache(path))
    assert "train-001.tar is not packed as the cache knows it" in message
    assert "the cache's policy mixes samples that are neighbours in a shard" in message
