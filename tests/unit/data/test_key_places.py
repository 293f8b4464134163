"""Samples are found by shard and key, or by key alone, with a few blocks at hand."""

import pytest

from kdcache.data import key_places
from kdcache.data.key_places import KeyPlaces
from kdcache.errors import ManifestMismatchError
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Cache two shards that share five keys, three blocks and one."""
    folder = tmp_path_factory.mktemp("places")
    shards = [
        str(write_shard(folder / "a.tar", range(40))),
        str(write_shard(folder / "b.tar", range(35, 44))),
    ]
    return open_cache(make_real_cache(folder / "c.zarr", shards, rows_per_block=16, num_aug_seeds=1))


def test_a_shard_and_a_key_name_one_place(cache: Cache) -> None:
    places = KeyPlaces(cache, ["a.tar", "b.tar"])
    assert [places.find("a.tar", f"s{number:05d}") for number in (39, 0, 17, 16)] == [
        (2, 7),
        (0, 0),
        (1, 1),
        (1, 0),
    ]
    assert places.find("b.tar", "s00039") == (3, 4)
    assert places.blocks == (0, 1, 2, 3)
    assert places.table(3).keys[4] == "s00039"


def test_a_key_of_another_shard_is_not_taken_for_it(cache: Cache) -> None:
    places = KeyPlaces(cache, ["b.tar"])
    assert places.find("b.tar", "s00000") is None
    assert places.find("a.tar", "s99999") is None
    assert places.blocks == (3,)


def test_without_names_the_key_decides(cache: Cache) -> None:
    places = KeyPlaces(cache, None)
    assert places.find("a.tar", "s00020") == (1, 4)
    assert places.find("", "s00043") == (3, 8)
    assert places.find("", "nobody") is None


def test_a_key_that_two_shards_have_is_refused_where_it_alone_decides(cache: Cache) -> None:
    with pytest.raises(ManifestMismatchError, match=r"'s00036' of x.tar is in a.tar and b.tar"):
        KeyPlaces(cache, None).find("x.tar", "s00036")


def test_unknown_names_are_told_and_known_ones_still_decide(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    places = KeyPlaces(cache, ["x.tar", "b.tar"])
    assert "knows no shard 'x.tar' (1 such)" in caplog.text
    assert places.find("b.tar", "s00036") == (3, 1)
    assert places.find("x.tar", "s00001") == (0, 1)


def test_few_blocks_are_at_hand_however_many_are_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_places, "_TABLES_KEPT", 2)
    places = KeyPlaces(cache, ["a.tar"])
    found = [places.find("a.tar", f"s{number:05d}") for number in range(40)]
    assert found == [divmod(number, 16) for number in range(40)]
    info = places._rows.cache_info()
    assert (info.currsize, info.misses) == (2, 3)
