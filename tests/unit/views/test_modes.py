import numpy as np
import pytest
from PIL import Image

from kdcache.views.modes import to_rgb
from tests.support.images import picture


def rgb_of(levels_HW: list[list[float]], dtype: str) -> list[int]:
    image = to_rgb(Image.fromarray(np.array(levels_HW, dtype)))
    assert image.mode == "RGB"
    array_HW3 = np.asarray(image)
    assert (array_HW3 == array_HW3[:, :, :1]).all()
    return [int(level) for level in array_HW3[:, :, 0].ravel()]


def test_sixteen_bit_levels_keep_their_high_byte() -> None:
    assert rgb_of([[0, 255, 256, 32768, 65535]], "uint16") == [0, 0, 1, 128, 255]


def test_integers_are_read_as_sixteen_bits_and_clipped() -> None:
    assert rgb_of([[-5, 0, 256, 65535, 2**30]], "int32") == [0, 0, 1, 255, 255]


def test_floats_are_cut_to_bytes() -> None:
    assert rgb_of([[-1.0, 0.4, 99.9, 255.0, 1e9, np.nan, np.inf, -np.inf]], "float32") == [
        0,
        0,
        99,
        255,
        255,
        0,
        255,
        0,
    ]


def test_rgb_is_not_copied() -> None:
    image = picture()
    assert to_rgb(image) is image


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_not_blended(mode: str) -> None:
    image = picture(mode=mode)
    image.putalpha(0)
    expected = picture(mode="RGB" if mode == "RGBA" else "L").convert("RGB")
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(expected))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "CMYK", "1", "P", "LAB"])
def test_other_modes_are_converted_by_pillow(mode: str) -> None:
    image = picture(mode=mode)
    assert np.array_equal(np.asarray(to_rgb(image.copy())), np.asarray(image.convert("RGB")))
