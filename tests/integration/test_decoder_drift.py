"""A machine whose decoder rounds differently: training stops and says so, or counts and goes on."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.errors import ViewMismatchError
from kdcache.train import train
from kdcache.views import render_views
from kdcache.views.fingerprint import decoder_fingerprint
from tests.support.training import small_cache, small_config, train_lines


@pytest.fixture
def drifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """Return shards and a cache of another decoder, on a machine that renders one level brighter."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    other = decoder_fingerprint() | {"probe:baseline.jpg": "0123456789abcdef"}
    monkeypatch.setattr("tests.support.real_cache.decoder_fingerprint", lambda: other)
    made = small_cache(tmp_path)

    def brighter(*arguments: object, **more: object) -> NDArray[np.uint8]:
        views = render_views(*arguments, **more)  # type: ignore[arg-type]
        views[:] = np.minimum(views, 254) + np.uint8(1)
        return views

    monkeypatch.setattr("kdcache.data.cached_views.render_views", brighter)
    return made


def test_training_stops_at_the_first_view_and_names_the_decoder_and_the_flag(
    tmp_path: Path, drifted: tuple[list[str], Path]
) -> None:
    with pytest.raises(ViewMismatchError, match=r"probe:baseline.jpg.* --allow-decoder-drift"):
        train(small_config(tmp_path, *drifted))


def test_training_counts_drifted_views_and_goes_on_where_it_may(
    tmp_path: Path, drifted: tuple[list[str], Path]
) -> None:
    report = train(small_config(tmp_path, *drifted, allow_decoder_drift=True, check_views=1))
    assert (report.samples, report.views_checked, report.views_drifted) == (80, 80, 80)
    assert train_lines(report.out)[-1]["views_drifted"] == 80
    assert "80 differ by a decoder's rounding (allowed)" in report.to_text()
