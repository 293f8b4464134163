import random
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.data.transforms_factory import create_transform
from torchvision.transforms import RandomCrop, RandomResizedCrop, Resize

from kdcache.config.views import ViewPolicy
from kdcache.keys import ViewKey, ViewRandom, Words, random_for, view_rng
from kdcache.views.draw import draw
from kdcache.views.geometry import draw_geometry
from kdcache.views.params import Stream
from kdcache.views.render import render
from tests.support.images import picture

SIDES = st.integers(1, 700)
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


class WordsAsRandom:
    """Answers what timm asks of Python's ``random`` from one of our streams."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def uniform(self, low: float, high: float) -> float:
        return self.words.uniform(low, high)

    def randint(self, low: int, high: int) -> int:
        return low + self.words.integer(high - low + 1)


def assert_same_pixels(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
    """Compare; Pillow 12 and older round tall images in another order (see kdcache.views.resample)."""
    allowed = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 4
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= allowed


def rng_of(n: int) -> ViewRandom:
    return view_rng(ViewKey("sample", n))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize(
    "image_size", [(500, 375), (375, 500), (256, 256), (61, 47), (224, 224), (1000, 301)]
)
def test_center_equals_timms_evaluation_transform(
    interpolation: str, crop_pct: float, image_size: tuple[int, int]
) -> None:
    image = picture(*image_size)
    policy = ViewPolicy.named("center", interpolation=interpolation, crop_pct=crop_pct)
    reference = create_transform(224, interpolation=interpolation, crop_pct=crop_pct, normalize=False)
    view_3HW = render(image, draw(policy, rng_of(0), image.size), policy)
    assert_same_pixels(view_3HW, reference(image).numpy())


@settings(max_examples=30, deadline=None)
@given(width=SIDES, height=SIDES, size=st.tuples(st.integers(8, 96), st.integers(8, 96)))
def test_center_equals_timms_evaluation_transform_for_every_shape(
    width: int, height: int, size: tuple[int, int]
) -> None:
    image = picture(width, height)
    policy = ViewPolicy.named("center", size=size)
    reference = create_transform((3, *size), interpolation="bicubic", crop_pct=0.875, normalize=False)
    view_3HW = render(image, draw(policy, rng_of(0), image.size), policy)
    assert_same_pixels(view_3HW, reference(image).numpy())


@given(width=SIDES, height=SIDES, n=st.integers(0, 2**40))
def test_random_resized_draws_timms_box_from_the_same_numbers(width: int, height: int, n: int) -> None:
    image = picture(16, 16).resize((width, height))
    policy = ViewPolicy.named("rrc")
    source, resized, window = draw_geometry(policy, rng_of(n), image.size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timm.data.transforms.random", WordsAsRandom(rng_of(n).words(Stream.CROP, 22)))
        top, left, h, w = RandomResizedCropAndInterpolation.get_params(image, policy.scale, policy.ratio)
    assert (resized, window) == ((224, 224), (0, 0, 224, 224))
    if h > 0 and w > 0:  # torchvision draws again where timm would crop nothing
        assert source == (left, top, left + w, top + h)


@pytest.mark.parametrize("image_size", [(10, 400), (400, 10), (1, 5000), (5000, 1), (1, 1), (300, 310)])
def test_random_resized_falls_back_to_torchvisions_central_box(image_size: tuple[int, int]) -> None:
    policy = ViewPolicy.named("rrc", scale=(1.0, 1.0), ratio=(1.2, 1.4))
    image = picture(*image_size)
    top, left, h, w = RandomResizedCrop.get_params(image, [1.0, 1.0], [1.2, 1.4])
    source, _, _ = draw_geometry(policy, rng_of(1), image.size)
    if 0 < h <= image_size[1] and 0 < w <= image_size[0]:
        assert source == (left, top, left + w, top + h)


def test_random_resized_covers_the_stated_areas_and_aspects() -> None:
    policy = ViewPolicy.named("rrc")
    boxes = np.array([draw_geometry(policy, rng_of(n), (640, 480))[0] for n in range(4000)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = widths * heights / (640 * 480)
    reference = [reference_share(policy) for _ in range(4000)]
    assert share.min() > 0.078
    assert share.max() <= 1.0
    assert (widths / heights).min() > 0.74
    assert (widths / heights).max() < 1.35
    assert np.mean(share) == pytest.approx(np.mean(reference), abs=0.02)


def reference_share(policy: ViewPolicy) -> float:
    image = picture(640, 480)
    _, _, h, w = RandomResizedCropAndInterpolation.get_params(image, policy.scale, policy.ratio)
    return float(h * w) / (640 * 480)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(3)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize(
    ("image_size", "size"), [((28, 28), 28), ((40, 30), 28), ((28, 28), 20), ((20, 33), 28)]
)
def test_padded_equals_torchvisions_resize_and_random_crop(
    mode: str, image_size: tuple[int, int], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(*image_size)
    policy = ViewPolicy.named("light", size=size, padding=3, padding_mode=mode, flip=0.0)
    for n in range(25):
        crop = RandomCrop(size, padding=3, padding_mode=mode)
        monkeypatch.setattr(crop, "get_params", _params_from(rng_of(n).words(Stream.CROP, 2)))
        expected = crop(Resize(size, interpolation=3)(image))
        view_3HW = render(image, draw(policy, rng_of(n), image.size), policy)
        assert np.array_equal(view_3HW, np.asarray(expected).transpose(2, 0, 1))


def _params_from(words: Words) -> Callable[[Any, tuple[int, int]], tuple[int, int, int, int]]:
    def get_params(image: Any, size: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = image.size
        return words.integer(height - size[0] + 1), words.integer(width - size[1] + 1), *size

    return get_params


def test_padded_reaches_every_offset() -> None:
    policy = ViewPolicy.named("light", size=28, padding=2)
    windows = {draw_geometry(policy, rng_of(n), (28, 28))[2] for n in range(600)}
    assert windows == {(x, y, x + 28, y + 28) for x in range(-2, 3) for y in range(-2, 3)}


@given(width=SIDES, height=SIDES, n=st.integers(0, 2**63), crop=st.sampled_from(["rrc", "light", "center"]))
def test_the_window_always_has_the_views_size(width: int, height: int, n: int, crop: str) -> None:
    policy = ViewPolicy.named(crop, size=(20, 31))
    source, resized, (left, top, right, bottom) = draw_geometry(policy, rng_of(n), (width, height))
    assert 0 <= source[0] < source[2] <= width
    assert 0 <= source[1] < source[3] <= height
    assert (right - left, bottom - top) == (31, 20)
    assert -policy.padding <= left
    assert right <= resized[0] + policy.padding


def test_the_geometry_of_a_view_ignores_every_other_op() -> None:
    plain, rich = ViewPolicy.named("rrc"), ViewPolicy.named("deit")
    for n in range(50):
        assert draw_geometry(plain, rng_of(n), (300, 200)) == draw_geometry(rich, rng_of(n), (300, 200))


def test_the_domain_is_part_of_the_generator() -> None:
    assert view_rng(ViewKey("a", 1)).key == random_for("view", "a", 1).key != random_for("mix", "a", 1).key
