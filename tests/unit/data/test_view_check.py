"""A view is the cached one, the cached one in another decoder's rounding, or another one."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.data.index import index_shard
from kdcache.data.loader import distill_loader
from kdcache.data.shards import ShardReader
from kdcache.data.view_check import ViewCheck
from kdcache.errors import ViewMismatchError
from kdcache.store.reader import Cache, open_cache
from kdcache.views import decode_for, render_views
from kdcache.views.fingerprint import decoder_fingerprint
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards

View = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [20])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    return open_cache(make_real_cache(tmp_path / "c.zarr", shards, num_aug_seeds=2))


@pytest.fixture
def drifted_cache(tmp_path: Path, shards: list[str], monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Return a cache whose manifest tells of a decoder that makes other pixels of one probe."""
    other = decoder_fingerprint() | {"probe:cmyk.jpg": "0123456789abcdef"}
    monkeypatch.setattr("tests.support.real_cache.decoder_fingerprint", lambda: other)
    return open_cache(make_real_cache(tmp_path / "d.zarr", shards, num_aug_seeds=2))


def view_of(cache: Cache, shards: list[str], row: int, aug_seed: int = 1) -> View:
    raw = ShardReader(index_shard(shards[0])).read(row)
    image = decode_for(cache.identity.policy, raw.encoded, where=raw.key)
    view_3HW: View = render_views(raw.key, image, [aug_seed], cache.identity.policy)[0]
    return view_3HW


def rounded_otherwise(view_3HW: View) -> View:
    return np.clip(view_3HW.astype(np.int16) + 1, 0, 255).astype(np.uint8)


def check(checker: ViewCheck, view_3HW: View, row: int) -> bool:
    return checker.check(view_3HW, key=f"s{row:05d}", block=0, row=row, aug_seed=1, where="a.tar: the sample")


def test_the_cached_view_passes(cache: Cache, shards: list[str]) -> None:
    assert check(ViewCheck(cache), view_of(cache, shards, 3), 3) is False


def test_rounding_is_told_from_another_view_and_the_way_out_is_named(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ViewMismatchError, match=r"same view up to the rounding .* --allow-decoder-drift"):
        check(ViewCheck(cache), rounded_otherwise(view_of(cache, shards, 3)), 3)


def test_rounding_passes_and_is_reported_where_it_is_allowed(cache: Cache, shards: list[str]) -> None:
    assert check(ViewCheck(cache, allow_drift=True), rounded_otherwise(view_of(cache, shards, 3)), 3)


def test_another_view_never_passes(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ViewMismatchError, match=r"'s00003' .* aug_seed 1 .* shows something else"):
        check(ViewCheck(cache, allow_drift=True), 255 - view_of(cache, shards, 3), 3)


def test_a_row_without_thumbnail_goes_by_the_decoders(
    cache: Cache, drifted_cache: Cache, shards: list[str]
) -> None:
    moved = rounded_otherwise(view_of(cache, shards, 12))
    with pytest.raises(ViewMismatchError, match="rendered differently here"):
        check(ViewCheck(cache, allow_drift=True), moved, 12)
    assert check(ViewCheck(drifted_cache, allow_drift=True), moved, 12)


def test_the_drifted_probe_is_named(drifted_cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ViewMismatchError, match=r"rounding of a decoder \(probe:cmyk.jpg\)"):
        check(ViewCheck(drifted_cache), rounded_otherwise(view_of(drifted_cache, shards, 12)), 12)


def test_another_picture_is_no_drift_even_where_decoders_differ(
    drifted_cache: Cache, shards: list[str]
) -> None:
    with pytest.raises(ViewMismatchError, match="something else"):
        check(ViewCheck(drifted_cache, allow_drift=True), 255 - view_of(drifted_cache, shards, 3), 3)


def test_the_first_batch_is_due_whole_and_then_one_view_in_so_many(cache: Cache) -> None:
    checker = ViewCheck(cache, every=4)
    assert checker.due(6) == [0, 1, 2, 3, 4, 5]
    assert checker.due(6) == [2]


def test_a_loader_counts_drifted_views_where_they_are_allowed(
    drifted_cache: Cache, shards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(*arguments: object, **more: object) -> View:
        views = render_views(*arguments, **more)  # type: ignore[arg-type]
        views[:] = rounded_otherwise(views)
        return views

    monkeypatch.setattr("kdcache.data.cached_views.render_views", render)
    loader = distill_loader(shards, cache=drifted_cache, batch_size=10, allow_decoder_drift=True)
    batch = next(iter(loader.epoch(0)))
    assert (batch.num_checked, batch.num_drifted) == (10, 10)
    strict = distill_loader(shards, cache=drifted_cache, batch_size=10)
    with pytest.raises(ViewMismatchError, match="--allow-decoder-drift"):
        next(iter(strict.epoch(0)))
