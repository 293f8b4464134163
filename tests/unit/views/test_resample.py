import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from kdcache.views.resample import resize
from tests.support.images import picture

SIDES = st.integers(1, 90)
FILTERS = st.sampled_from(
    [
        Image.Resampling.BILINEAR,
        Image.Resampling.BICUBIC,
        Image.Resampling.LANCZOS,
        Image.Resampling.BOX,
    ]
)
PILLOW = int((features.version("pil") or "0").split(".")[0])


@pytest.mark.skipif(PILLOW < 13, reason="Pillow 12 and older resize tall images in the other order")
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), resampling=FILTERS)
def test_the_passes_are_those_of_pillow_13(
    old: tuple[int, int], new: tuple[int, int], resampling: Image.Resampling
) -> None:
    image = picture(*old)
    assert np.array_equal(
        np.asarray(resize(image, new, resampling)), np.asarray(image.resize(new, resampling))
    )


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), resampling=FILTERS)
def test_the_order_of_the_passes_moves_a_value_by_rounding_only(
    old: tuple[int, int], new: tuple[int, int], resampling: Image.Resampling
) -> None:
    image = picture(*old)
    across = image.resize((new[0], old[1]), resampling).resize(new, resampling)
    down = image.resize((old[0], new[1]), resampling).resize(new, resampling)
    ours = np.asarray(resize(image, new, resampling))
    assert np.array_equal(ours, np.asarray(across)) or np.array_equal(ours, np.asarray(down))


@pytest.mark.parametrize(
    ("old", "new", "vertical"),
    [((40, 90), (20, 30), True), ((40, 90), (9, 30), False), ((40, 30), (60, 60), False)],
)
def test_tall_images_go_vertically_first(old: tuple[int, int], new: tuple[int, int], vertical: bool) -> None:
    image = picture(*old)
    between = (old[0], new[1]) if vertical else (new[0], old[1])
    expected = image.resize(between, Image.Resampling.BICUBIC).resize(new, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(resize(image, new, Image.Resampling.BICUBIC)), np.asarray(expected))


def test_an_image_of_that_size_is_returned_as_it_is() -> None:
    image = picture()
    assert resize(image, image.size, Image.Resampling.BICUBIC) is image


def test_a_box_equals_pillows_box() -> None:
    box = (3.5, 2.25, 50.0, 40.5)
    expected = picture().resize((30, 20), Image.Resampling.BICUBIC, box=box)
    ours = resize(picture(), (30, 20), Image.Resampling.BICUBIC, box=box)
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(expected)).max() <= 1
