"""``verify --views``: views rendered again are the cache's, drifted, or refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.config.views import ViewPolicy
from kdcache.data.index import index_shard
from kdcache.data.recheck import recheck
from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError, ViewMismatchError
from kdcache.store.reader import Cache, open_cache
from kdcache.views import render_views
from kdcache.views.fingerprint import decoder_fingerprint
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard, write_shards


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [40, 9])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    return open_cache(make_real_cache(tmp_path / "c.zarr", shards, rows_per_block=16))


def render_other_pixels(monkeypatch: pytest.MonkeyPatch, change: int) -> None:
    def render(*arguments: object) -> NDArray[np.uint8]:
        moved = render_views(*arguments).astype(np.int16) + change  # type: ignore[arg-type]
        return np.clip(moved, 0, 255).astype(np.uint8)

    monkeypatch.setattr("kdcache.data.cell_views.render_views", render)


def test_all_views_of_a_sound_cache_are_equal(cache: Cache, shards: list[str]) -> None:
    report = recheck(shards, cache, fraction=None, quiet=True)
    assert (report.views, report.all_views, report.samples, report.drifted) == (196, 196, 49, 0)
    assert "196 of 196 views rendered again from 49 decoded samples: all equal" in report.summary()
    assert report.summary().endswith("decoder: the same as the cache's")


def test_a_sample_of_the_views_has_at_least_64(cache: Cache, shards: list[str]) -> None:
    report = recheck(shards, cache, fraction=0.01, quiet=True)
    assert (report.views, report.samples) == (64, 64)


def test_one_shard_of_the_cache_is_enough(cache: Cache, shards: list[str]) -> None:
    assert recheck(shards[1], cache, fraction=None, quiet=True).views == 36


def test_mixed_views_are_compared_as_they_are_cached(tmp_path: Path, shards: list[str]) -> None:
    policy = ViewPolicy.named("rrc", size=24, mixing={})
    cache = open_cache(make_real_cache(tmp_path / "m.zarr", shards, policy=policy, num_aug_seeds=6))
    report = recheck(shards, cache, fraction=None, quiet=True)
    # Seeds 0 to 3 share one matching, 4 and 5 another: each sample is decoded twice.
    assert (report.views, report.samples, report.drifted) == (294, 98, 0)
    assert 80 <= recheck(shards, cache, fraction=0.3, quiet=True).views <= 88


def test_one_other_byte_of_an_image_is_refused(cache: Cache, shards: list[str]) -> None:
    offset, size = index_shard(shards[0]).image_span(3)
    with Path(shards[0]).open("r+b") as file:
        file.seek(offset + size - 1)
        file.write(b"!")
    with pytest.raises(ManifestMismatchError, match=r"sample 's00003' .* its image has other bytes"):
        recheck(shards, cache, fraction=None, quiet=True)


def test_swapped_labels_are_refused(cache: Cache, shards: list[str]) -> None:
    labels = {number: number % 10 for number in range(40)} | {5: 6, 6: 5}
    write_shard(Path(shards[0]), range(40), labels=labels)
    with pytest.raises(ManifestMismatchError, match=r"'s00005' .* its label is 6 there and 5 in the cache"):
        recheck(shards, cache, fraction=None, quiet=True)


def test_rounding_is_counted_and_refused(
    cache: Cache, shards: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = open_cache(make_real_cache(tmp_path / "s.zarr", shards[1:], rows_per_block=8))
    render_other_pixels(monkeypatch, 1)
    with pytest.raises(ViewMismatchError, match=r"not the one that the teacher saw"):
        recheck(shards, cache, fraction=None, quiet=True)
    with pytest.raises(
        ViewMismatchError, match=r"36 of 36 views .* rounding, the first is 's00040' under aug_seed 0"
    ):
        recheck(shards[1], small, fraction=None, quiet=True)


def test_rounding_is_reported_where_it_is_allowed(
    shards: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = decoder_fingerprint() | {"pillow": "9.9", "probe:cmyk.jpg": "0123456789abcdef"}
    monkeypatch.setattr("tests.support.real_cache.decoder_fingerprint", lambda: other)
    cache = open_cache(make_real_cache(tmp_path / "d.zarr", shards))
    render_other_pixels(monkeypatch, 1)
    report = recheck(shards, cache, fraction=None, allow_decoder_drift=True, quiet=True)
    assert report.drifted == 196
    assert "pillow 9.9 in the cache" in report.summary()
    assert "0 equal" in report.summary()


def test_other_pixels_are_refused_even_where_drift_is_allowed(
    cache: Cache, shards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    render_other_pixels(monkeypatch, 60)
    with pytest.raises(ViewMismatchError, match=r"something else"):
        recheck(shards, cache, fraction=None, allow_decoder_drift=True, quiet=True)


def test_a_cache_without_views_is_refused(tmp_path: Path, shards: list[str]) -> None:
    cache = open_cache(make_real_cache(tmp_path / "e.zarr", shards, groups=()))
    with pytest.raises(MissingViewError, match=r"run kdcache precompute"):
        recheck(shards, cache, quiet=True)


def test_a_fraction_of_nothing_is_refused(cache: Cache, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--fraction is 0, expected a share above 0"):
        recheck(shards, cache, fraction=0.0, quiet=True)


def test_progress_is_shown(cache: Cache, shards: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    recheck(shards, cache, fraction=None)
    assert "render: 196 of 196 views" in capsys.readouterr().err


def test_shards_of_another_data_set_are_refused(cache: Cache, tmp_path: Path, shards: list[str]) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(shards[0], folder / "train-000.tar")
    write_shard(folder / "train-001.tar", range(900, 905))
    with pytest.raises(ManifestMismatchError, match=r"does not know"):
        recheck([str(folder / "*.tar")], cache, quiet=True)
