import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.data.random_erasing import RandomErasing

from kdcache.config.views import Erasing
from kdcache.keys import ViewKey, ViewRandom, Words, view_rng
from kdcache.views.erasing import draw_erasing, erase, noise_table
from kdcache.views.params import Box, Stream, ViewParams


def rng_of(n: int) -> ViewRandom:
    return view_rng(ViewKey("sample", n))


class WordsAsRandom:
    """Answers what timm's erasing asks of Python's ``random`` from one of our streams."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def random(self) -> float:
        return self.words.uniform()

    def uniform(self, low: float, high: float) -> float:
        return self.words.uniform(low, high)

    def randint(self, low: int, high: int) -> int:
        return low + self.words.integer(high - low + 1)


def params_with(*boxes: Box, key: tuple[int, int] = (1, 2)) -> ViewParams:
    return ViewParams((0, 0, 9, 9), (9, 9), (0, 0, 9, 9), erase=boxes, noise_key=key)


def erased(section: Erasing, *boxes: Box, size: tuple[int, int] = (40, 30)) -> np.ndarray:
    view_3HW = np.zeros((3, *size), np.uint8)
    erase(view_3HW, params_with(*boxes), section)
    return view_3HW


@pytest.mark.parametrize("max_count", [1, 3])
@given(n=st.integers(0, 2**40), prob=st.sampled_from([0.25, 1.0]))
def test_the_rectangles_are_timms_from_the_same_numbers(max_count: int, n: int, prob: float) -> None:
    section = Erasing(prob=prob, max_count=max_count)
    boxes = draw_erasing(section, rng_of(n), (60, 44))
    words = rng_of(n).words(Stream.ERASING, 2 + 22 * max_count)
    reference = RandomErasing(prob, max_count=max_count, mode="const", device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timm.data.random_erasing.random", _count_always_drawn(words))
        touched = reference(torch.ones(3, 44, 60))[0].numpy() == 0.0
    ours = np.zeros((44, 60), bool)
    for left, top, right, bottom in boxes:
        ours[top:bottom, left:right] = True
    assert np.array_equal(ours, touched)


def _count_always_drawn(words: Words) -> WordsAsRandom:
    """Return timm's randomness, plus our word for the count where timm draws none."""

    class Counting(WordsAsRandom):
        def random(self) -> float:
            u = super().random()
            self.skip = True
            return u

        def uniform(self, low: float, high: float) -> float:
            if getattr(self, "skip", False):
                self.words.integer(1)
                self.skip = False
            return super().uniform(low, high)

        def randint(self, low: int, high: int) -> int:
            self.skip = False
            return super().randint(low, high)

    return Counting(words)


def test_one_view_in_four_is_erased_and_a_sixth_of_it() -> None:
    drawn = [draw_erasing(Erasing(), rng_of(n), (224, 224)) for n in range(12000)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) / 224**2 for boxes in drawn for box in boxes]
    assert len(areas) / 12000 == pytest.approx(0.25, abs=0.015)
    assert min(areas) > 0.019
    assert max(areas) < 0.335
    assert np.mean(areas) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)


def test_const_fills_with_the_mean_and_touches_nothing_else() -> None:
    view_3HW = erased(Erasing(mode="const", mean=(1, 2, 3)), (5, 6, 12, 20))
    assert [set(np.unique(plane[6:20, 5:12])) for plane in view_3HW] == [{1}, {2}, {3}]
    view_3HW[:, 6:20, 5:12] = 0
    assert not view_3HW.any()


def test_pixel_noise_stays_in_its_boxes() -> None:
    view_3HW = erased(Erasing(), (5, 6, 12, 20), (20, 0, 30, 9))
    assert view_3HW[:, 6:20, 5:12].any()
    assert view_3HW[:, 0:9, 20:30].any()
    view_3HW[:, 6:20, 5:12] = 0
    view_3HW[:, 0:9, 20:30] = 0
    assert not view_3HW.any()


def test_noise_takes_its_bytes_box_by_box_plane_by_plane() -> None:
    section = Erasing()
    boxes = ((5, 6, 12, 20), (20, 0, 30, 9))
    view_3HW = erased(section, *boxes)
    stream = ViewRandom((1, 2)).raw(Stream.ERASING_NOISE, 200).astype("<u8").tobytes()
    table_3L = noise_table(section.mean, section.std)
    position = 0
    for left, top, right, bottom in boxes:
        for channel in range(3):
            for y in range(top, bottom):
                for x in range(left, right):
                    assert view_3HW[channel, y, x] == table_3L[channel][stream[position]]
                    position += 1


def test_noise_has_the_stated_mean_and_deviation() -> None:
    section = Erasing(mean=(100, 128, 150), std=(20.0, 30.0, 10.0))
    view_3HW = erased(section, (0, 0, 200, 200), size=(200, 200))
    for plane, mean, std in zip(view_3HW, section.mean, section.std, strict=True):
        assert plane.mean() == pytest.approx(mean, abs=0.5)
        assert plane.std() == pytest.approx(std, rel=0.02)


def test_other_keys_give_other_noise() -> None:
    one, other = (np.zeros((3, 30, 30), np.uint8) for _ in range(2))
    erase(one, params_with((0, 0, 30, 30), key=(1, 2)), Erasing())
    erase(other, params_with((0, 0, 30, 30), key=(1, 3)), Erasing())
    assert (one != other).mean() > 0.9


def test_a_view_too_small_for_a_rectangle_stays_whole() -> None:
    assert draw_erasing(Erasing(prob=1.0), rng_of(0), (1, 1)) == ()
