"""A sample that is not the one the cache was made from is refused by name."""

import re
from pathlib import Path

import pytest

from kdcache.data.index import index_shard
from kdcache.data.loader import distill_loader
from kdcache.data.recheck import joined_samples
from kdcache.errors import ManifestMismatchError, ShardError
from kdcache.store.reader import Cache, open_cache
from tests.support.real_cache import make_real_cache
from tests.support.shards import picture as picture_of
from tests.support.shards import png_bytes, write_shard, write_shards


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [12])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    return open_cache(make_real_cache(tmp_path / "c.zarr", shards))


def train(shards: list[str], cache: Cache, *, num_workers: int = 0) -> int:
    loader = distill_loader(shards, cache=cache, batch_size=4, num_workers=num_workers)
    return sum(len(batch) for batch in loader.epoch(0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_changed_image_byte_is_found_with_a_readable_message(
    shards: list[str], cache: Cache, num_workers: int
) -> None:
    offset, size = index_shard(shards[0]).image_span(3)
    with Path(shards[0]).open("r+b") as file:
        file.seek(offset + size // 2)
        file.write(b"?")
    start = f"sample 's00003' of the cache {cache.url} is not the one in {shards[0]}: s00003: "
    told = "its image has other bytes; restore the shard that the cache was made from"
    with pytest.raises(ManifestMismatchError, match=f"^{re.escape(start)}.*{told}"):
        train(shards, cache, num_workers=num_workers)


def test_a_reencoded_image_is_found(shards: list[str], cache: Cache) -> None:
    write_shard(Path(shards[0]), range(12), images={5: png_bytes(picture_of(5)) + b"\0"})
    with pytest.raises(ManifestMismatchError, match=r"sample 's00005' .* its image has other bytes"):
        train(shards, cache)


def test_swapped_labels_are_found(shards: list[str], cache: Cache) -> None:
    labels = {number: number % 10 for number in range(12)} | {1: 2, 2: 1}
    write_shard(Path(shards[0]), range(12), labels=labels)
    with pytest.raises(
        ManifestMismatchError, match=r"'s0000[12]' .* its label is [12] there and [12] in the cache"
    ):
        train(shards, cache)


def test_a_label_that_is_no_class_is_found(shards: list[str], cache: Cache) -> None:
    labels = {number: number % 10 for number in range(12)} | {7: 12}
    write_shard(Path(shards[0]), range(12), labels=labels)
    with pytest.raises((ShardError, ManifestMismatchError), match=r"s00007"):
        train(shards, cache)


def test_a_removed_label_is_found(shards: list[str], cache: Cache) -> None:
    write_shard(Path(shards[0]), range(12), labels={number: number % 10 for number in range(11)})
    with pytest.raises(ManifestMismatchError, match=r"'s00011' .* its label is -1 there and 1 in the cache"):
        train(shards, cache)


def test_a_file_is_closed_when_its_shard_is_not_used_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdcache.data.cached_samples._SHARDS_OPEN", 2)
    shards = write_shards(tmp_path / "many", [2] * 8)
    samples, seeds = joined_samples(
        shards, open_cache(make_real_cache(tmp_path / "m.zarr", shards, rows_per_block=64))
    )
    for block in seeds:
        samples.read(block, 0)
    links = [entry.resolve() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert len([link for link in links if link.parent == tmp_path / "many"]) <= 2
