import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdcache.views import window as window_module
from kdcache.views.params import Box, ViewParams
from kdcache.views.window import PaddingMode, cut_window
from tests.support.images import picture

BICUBIC = Image.Resampling.BICUBIC


def cut(image: Image.Image, params: ViewParams, mode: PaddingMode = "constant") -> np.ndarray:
    return np.asarray(cut_window(image, params, BICUBIC, mode))


@pytest.mark.parametrize("resampling", [Image.Resampling.BILINEAR, BICUBIC, Image.Resampling.LANCZOS])
def test_the_filter_sees_nothing_beyond_the_source_box(resampling: Image.Resampling) -> None:
    box = (10, 8, 50, 40)
    params = ViewParams(source=box, resized=(20, 16), window=(0, 0, 20, 16))
    expected = picture().crop(box).resize((20, 16), resampling)
    view = cut_window(picture(), params, resampling, "constant")
    assert np.array_equal(np.asarray(view), np.asarray(expected))


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    params = ViewParams(source=(0, 0, 64, 48), resized=(64, 48), window=(0, 0, 64, 48))
    assert np.array_equal(cut(picture(), params), np.asarray(picture()))


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    offset=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    mode=st.sampled_from(["constant", "edge", "reflect"]),
)
def test_padding_equals_numpys(size: tuple[int, int], offset: tuple[int, int], mode: PaddingMode) -> None:
    image = picture(*size)
    left, top = max(offset[0], 1 - size[0]), max(offset[1], 1 - size[1])
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    params = ViewParams(source=(0, 0, *size), resized=size, window=(left, top, left + size[0], top + size[1]))
    padded = np.pad(np.asarray(image), ((9, 24), (9, 24), (0, 0)), mode=mode)
    expected = padded[9 + top : 9 + top + size[1], 9 + left : 9 + left + size[0]]
    if mode == "reflect" and not _reachable((left, top), size):
        return
    assert np.array_equal(cut(image, params, mode), expected)


def _reachable(offset: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether every reflected pixel lies inside the window; a policy's padding is below its size."""
    return all(-length // 2 < start < length // 2 for start, length in zip(offset, size, strict=True))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 4000)])
def test_a_thin_image_costs_no_more_than_its_window(size: tuple[int, int]) -> None:
    resized = (256, 256 * size[1] // size[0]) if size[0] < size[1] else (256 * size[0] // size[1], 256)
    left, top = (resized[0] - 224) // 2, (resized[1] - 224) // 2
    params = ViewParams(source=(0, 0, *size), resized=resized, window=(left, top, left + 224, top + 224))
    assert cut(picture(*size), params).shape == (224, 224, 3)


@pytest.mark.parametrize("window", [(0, 0, 40, 40), (37, 11, 77, 51), (120, 80, 160, 120)])
def test_resampling_the_window_alone_gives_the_same_picture(
    window: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = ViewParams(source=(0, 0, 64, 48), resized=(160, 120), window=window)
    whole = cut(picture(), params).astype(int)
    monkeypatch.setattr(window_module, "_MAX_RESIZED_PIXELS", 0)
    assert np.abs(cut(picture(), params).astype(int) - whole).max() <= 2


def test_pillows_global_limit_changes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    params = ViewParams(source=(3, 2, 60, 41), resized=(20, 20), window=(2, 3, 18, 19))
    expected = cut(picture(), params)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert np.array_equal(cut(picture(), params), expected)
