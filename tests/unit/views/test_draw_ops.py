from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data import auto_augment
from timm.data.auto_augment import LEVEL_TO_ARG, rand_augment_choices, rand_augment_transform
from torchvision.transforms import ColorJitter

from kdcache.config.views import ColourJitter, RandAugment, ThreeAugment
from kdcache.keys import ViewKey, Words, view_rng
from kdcache.views.draw_ops import (
    RAND_AUGMENT_OPS,
    draw_colour_jitter,
    draw_rand_augment,
    draw_three_augment,
    rand_augment_arg,
)
from kdcache.views.ops import ONE, Op, OpCall
from kdcache.views.params import Stream

SIZE = (224, 192)
FIXED_POINT = {Op.ROTATE, Op.SHEAR_X, Op.SHEAR_Y, Op.COLOUR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS}
SAME_NAME = {
    "AutoContrast": Op.AUTO_CONTRAST,
    "Equalize": Op.EQUALISE,
    "Invert": Op.INVERT,
    "Rotate": Op.ROTATE,
    "Posterize": Op.POSTERISE,
    "Solarize": Op.SOLARISE,
    "SolarizeAdd": Op.SOLARISE_ADD,
    "Color": Op.COLOUR,
    "Contrast": Op.CONTRAST,
    "Brightness": Op.BRIGHTNESS,
    "Sharpness": Op.SHARPNESS,
    "ShearX": Op.SHEAR_X,
    "ShearY": Op.SHEAR_Y,
    "TranslateXRel": Op.TRANSLATE_X,
    "TranslateYRel": Op.TRANSLATE_Y,
}


def words_of(n: int, stream: Stream, count: int) -> Words:
    return view_rng(ViewKey("sample", n)).words(stream, count)


def timm_value(name: str, magnitude: float, sign: int) -> float:
    """Return what timm's op of this name gets; the posterise of magnitude 10 is raised to one bit."""
    level_to_arg: Callable[..., tuple[float]] | None = LEVEL_TO_ARG[name]
    if level_to_arg is None:
        return 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto_augment, "_randomly_negate", lambda value: sign * value)
        (value,) = level_to_arg(magnitude, {})
    return max(1.0, value) if name.startswith("Posterize") else float(value)


def test_the_op_set_is_timms_in_its_order() -> None:
    names = [name.removesuffix("Increasing") for name in rand_augment_choices("", increasing=True)]
    assert tuple(SAME_NAME[name] for name in names) == RAND_AUGMENT_OPS


@pytest.mark.parametrize("increasing", [True, False])
@given(magnitude=st.floats(0.0, 10.0), sign=st.sampled_from([-1, 1]), index=st.integers(0, 14))
def test_magnitudes_are_timms(increasing: bool, magnitude: float, sign: int, index: int) -> None:
    name = rand_augment_choices("", increasing=increasing)[index]
    op = RAND_AUGMENT_OPS[index]
    arg = rand_augment_arg(op, magnitude, sign, increasing=increasing, view_size=SIZE)
    expected = timm_value(name, magnitude, sign)
    if op is Op.TRANSLATE_X:
        assert abs(arg - expected * SIZE[0]) <= 0.5
    elif op is Op.TRANSLATE_Y:
        assert abs(arg - expected * SIZE[1]) <= 0.5
    elif op in FIXED_POINT:
        assert abs(arg / ONE - expected) <= 0.51 / ONE
    else:
        assert arg == expected


def test_posterise_never_keeps_zero_bits() -> None:
    for increasing in (True, False):
        for magnitude in np.linspace(0.0, 10.0, 101):
            bits = rand_augment_arg(Op.POSTERISE, float(magnitude), 1, increasing=increasing, view_size=SIZE)
            assert 1 <= bits <= 4


def test_rand_augment_draws_what_timms_string_says() -> None:
    reference = rand_augment_transform("rand-m9-mstd0.5-inc1", {})
    section = RandAugment()
    assert reference.num_layers == section.num_ops
    assert reference.choice_weights is None
    assert {op.prob for op in reference.ops} == {section.op_prob}
    assert {op.magnitude for op in reference.ops} == {section.magnitude}
    assert {op.magnitude_std for op in reference.ops} == {section.magnitude_std}


def test_rand_augment_takes_every_op_equally_often() -> None:
    drawn = [draw_rand_augment(RandAugment(), words_of(n, Stream.RAND_AUGMENT, 8), SIZE) for n in range(6000)]
    counts = Counter(call.op for calls in drawn for call in calls)
    assert set(counts) == set(RAND_AUGMENT_OPS)
    assert sum(counts.values()) == pytest.approx(6000, rel=0.05)
    assert all(count == pytest.approx(400, rel=0.25) for count in counts.values())
    assert Counter(map(len, drawn))[1] == pytest.approx(3000, rel=0.07)


def test_rand_augment_magnitudes_have_the_stated_mean_deviation_and_signs() -> None:
    section = RandAugment(op_prob=1.0, magnitude=5.0, num_ops=15)
    drawn = [draw_rand_augment(section, words_of(n, Stream.RAND_AUGMENT, 60), SIZE) for n in range(400)]
    degrees = np.array([call.arg / ONE for calls in drawn for call in calls if call.op is Op.ROTATE])
    assert np.mean(np.abs(degrees)) == pytest.approx(15.0, abs=0.3)
    assert np.std(np.abs(degrees)) == pytest.approx(1.5, abs=0.2)
    assert np.mean(degrees > 0) == pytest.approx(0.5, abs=0.08)


def test_rand_augment_clips_magnitudes() -> None:
    section = RandAugment(op_prob=1.0, magnitude=10.0, magnitude_std=5.0, num_ops=15)
    drawn = [draw_rand_augment(section, words_of(n, Stream.RAND_AUGMENT, 60), SIZE) for n in range(100)]
    degrees = np.array([call.arg / ONE for calls in drawn for call in calls if call.op is Op.ROTATE])
    assert np.abs(degrees).max() == 30.0


def test_three_augment_takes_each_of_its_three_ops_equally_often() -> None:
    calls = [draw_three_augment(ThreeAugment(), words_of(n, Stream.THREE_AUGMENT, 2)) for n in range(3000)]
    counts = Counter(call.op for call in calls)
    assert set(counts) == {Op.GREY, Op.SOLARISE, Op.BLUR}
    assert all(count == pytest.approx(1000, rel=0.1) for count in counts.values())
    radii = np.array([call.arg / ONE for call in calls if call.op is Op.BLUR])
    assert 0.1 <= radii.min() < 0.2
    assert 1.9 < radii.max() <= 2.0
    assert {call.arg for call in calls if call.op is Op.SOLARISE} == {128}


def test_colour_jitter_draws_from_torchvisions_ranges() -> None:
    section = ColourJitter(brightness=0.4, contrast=1.5, saturation=0.3, hue=0.2)
    reference = ColorJitter(0.4, 1.5, 0.3, 0.2)
    drawn = [draw_colour_jitter(section, words_of(n, Stream.COLOUR_JITTER, 8)) for n in range(2000)]
    for op, bounds in (
        (Op.BRIGHTNESS, reference.brightness),
        (Op.CONTRAST, reference.contrast),
        (Op.COLOUR, reference.saturation),
    ):
        factors = np.array([call.arg / ONE for calls in drawn for call in calls if call.op is op])
        assert factors.min() == pytest.approx(bounds[0], abs=0.02)
        assert factors.max() == pytest.approx(bounds[1], abs=0.02)
        assert factors.mean() == pytest.approx(sum(bounds) / 2, abs=0.05)
    hues = np.array([call.arg for calls in drawn for call in calls if call.op is Op.HUE])
    assert (hues.min(), hues.max()) == (-50, 50)


def test_colour_jitter_orders_its_ops_at_random() -> None:
    section = ColourJitter(hue=0.1)
    orders = Counter(
        tuple(call.op for call in draw_colour_jitter(section, words_of(n, Stream.COLOUR_JITTER, 8)))
        for n in range(4800)
    )
    assert len(orders) == 24
    assert all(count == pytest.approx(200, rel=0.35) for count in orders.values())


def test_colour_jitter_leaves_out_what_has_no_strength() -> None:
    section = ColourJitter(brightness=0.0, contrast=0.0, saturation=0.5)
    (call,) = draw_colour_jitter(section, words_of(0, Stream.COLOUR_JITTER, 8))
    assert call.op is Op.COLOUR


def test_colour_jitter_happens_with_its_probability() -> None:
    section = ColourJitter(prob=0.8)
    drawn = [draw_colour_jitter(section, words_of(n, Stream.COLOUR_JITTER, 8)) for n in range(2000)]
    assert np.mean([len(calls) > 0 for calls in drawn]) == pytest.approx(0.8, abs=0.03)


def test_a_call_is_a_name_and_an_integer() -> None:
    call = draw_rand_augment(RandAugment(op_prob=1.0), words_of(3, Stream.RAND_AUGMENT, 8), SIZE)[0]
    assert isinstance(call, OpCall)
    assert isinstance(call.arg, int)
