"""A card is two files, made from the cache alone."""

from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError
from kdcache.report.card import card_files
from kdcache.store.reader import open_cache
from tests.support.stores import make_store


def test_a_card_is_a_page_and_metadata_that_name_the_content_id(tmp_path: Path) -> None:
    cache = open_cache(make_store(tmp_path / "c.zarr"))
    files = card_files(cache, url="s3://bucket/c.zarr")
    assert list(files) == ["README.md", "croissant.json"]
    assert all(cache.content_id().encode() in data for data in files.values())
    assert files == card_files(cache, url="s3://bucket/c.zarr")


def test_a_card_of_damaged_targets_is_refused(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c.zarr")
    data = bytearray((path / "teachers/cnn/targets/c/0/0/0").read_bytes())
    data[9] ^= 1
    (path / "teachers/cnn/targets/c/0/0/0").write_bytes(data)
    with pytest.raises(CorruptChunkError, match="teachers/cnn/targets/c/0/0/0"):
        card_files(open_cache(path))
