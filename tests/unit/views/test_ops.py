from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.auto_augment import NAME_TO_OP
from torchvision.transforms import functional as tv
from torchvision.transforms.v2 import functional as tv2

from kdcache.views.ops import ONE, Op, OpCall, Surroundings, apply_op, to_fixed
from tests.support.images import picture

FILL = (124, 116, 104)
BICUBIC = Surroundings(FILL, Image.Resampling.BICUBIC)
BILINEAR = Surroundings(FILL, Image.Resampling.BILINEAR)

TIMM: dict[Op, tuple[str, list[float]]] = {
    Op.AUTO_CONTRAST: ("AutoContrast", [0]),
    Op.BLUR: ("GaussianBlur", [0.1, 0.7, 2.0]),
    Op.BRIGHTNESS: ("Brightness", [0.1, 0.625, 1.0, 1.9]),
    Op.COLOUR: ("Color", [0.1, 0.625, 1.0, 1.9]),
    Op.CONTRAST: ("Contrast", [0.1, 0.625, 1.0, 1.9]),
    Op.EQUALISE: ("Equalize", [0]),
    Op.INVERT: ("Invert", [0]),
    Op.POSTERISE: ("Posterize", [1, 2, 4, 7]),
    Op.ROTATE: ("Rotate", [-30.0, -0.5, 0.0, 13.25, 30.0]),
    Op.SHARPNESS: ("Sharpness", [0.1, 0.625, 1.0, 1.9]),
    Op.SHEAR_X: ("ShearX", [-0.3, 0.0, 0.125, 0.3]),
    Op.SHEAR_Y: ("ShearY", [-0.3, 0.0, 0.125, 0.3]),
    Op.SOLARISE: ("Solarize", [0, 26, 128, 256]),
    Op.SOLARISE_ADD: ("SolarizeAdd", [0, 50, 110]),
    Op.TRANSLATE_X: ("TranslateX", [-30, 0, 7, 63, 64]),
    Op.TRANSLATE_Y: ("TranslateY", [-30, 0, 7, 47, 48]),
}
INTEGERS = {Op.POSTERISE, Op.SOLARISE, Op.SOLARISE_ADD, Op.TRANSLATE_X, Op.TRANSLATE_Y}

CASES = [(op, value) for op, (_, values) in TIMM.items() for value in values]


def call_of(op: Op, value: float) -> OpCall:
    return OpCall(op, int(value) if op in INTEGERS else to_fixed(value))


@pytest.mark.parametrize("surroundings", [BICUBIC, BILINEAR], ids=["bicubic", "bilinear"])
@pytest.mark.parametrize(("op", "value"), CASES)
def test_an_op_equals_timms(op: Op, value: float, surroundings: Surroundings) -> None:
    name, _ = TIMM[op]
    call = call_of(op, value)
    given_value = call.arg if op in INTEGERS else call.arg / ONE
    options = {"fillcolor": surroundings.fill, "resample": surroundings.resampling}
    arguments = [] if op in {Op.AUTO_CONTRAST, Op.EQUALISE, Op.INVERT} else [given_value]
    transform: Any = NAME_TO_OP[name]
    expected = transform(picture(), *arguments, **options)
    assert np.array_equal(np.asarray(apply_op(picture(), call, surroundings)), np.asarray(expected))


@pytest.mark.parametrize("hue", [-0.5, -0.2, 0.0, 0.1, 0.5])
def test_hue_equals_torchvisions(hue: float) -> None:
    changed = apply_op(picture(), OpCall(Op.HUE, int(hue * 255.0)), BICUBIC)
    assert np.array_equal(np.asarray(changed), np.asarray(tv.adjust_hue(picture(), hue)))


@pytest.mark.parametrize(
    ("op", "function"),
    [
        (Op.BRIGHTNESS, tv.adjust_brightness),
        (Op.CONTRAST, tv.adjust_contrast),
        (Op.COLOUR, tv.adjust_saturation),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.3])
def test_jitter_ops_equal_torchvisions(op: Op, function: Callable[..., Image.Image], factor: float) -> None:
    call = OpCall(op, to_fixed(factor))
    expected = function(picture(), call.arg / ONE)
    assert np.array_equal(np.asarray(apply_op(picture(), call, BICUBIC)), np.asarray(expected))


def test_grey_equals_torchvisions_three_channel_grayscale() -> None:
    grey = apply_op(picture(), OpCall(Op.GREY), BICUBIC)
    assert np.array_equal(np.asarray(grey), np.asarray(tv.to_grayscale(picture(), 3)))


def tensor_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


TENSOR_CASES: dict[str, tuple[OpCall, Callable[..., Any], int]] = {
    "invert": (OpCall(Op.INVERT), tv2.invert, 0),
    "posterise": (OpCall(Op.POSTERISE, 3), lambda image: tv2.posterize(image, 3), 0),
    "solarise": (OpCall(Op.SOLARISE, 77), lambda image: tv2.solarize(image, 77), 0),
    "equalise": (OpCall(Op.EQUALISE), tv2.equalize, 0),
    "auto-contrast": (OpCall(Op.AUTO_CONTRAST), tv2.autocontrast, 1),
    "brightness": (OpCall(Op.BRIGHTNESS, 3 * ONE // 4), lambda image: tv2.adjust_brightness(image, 0.75), 1),
    "contrast": (OpCall(Op.CONTRAST, 3 * ONE // 4), lambda image: tv2.adjust_contrast(image, 0.75), 1),
    "colour": (OpCall(Op.COLOUR, 3 * ONE // 4), lambda image: tv2.adjust_saturation(image, 0.75), 2),
    "sharpness": (OpCall(Op.SHARPNESS, 3 * ONE // 2), lambda image: tv2.adjust_sharpness(image, 1.5), 1),
    "grey": (OpCall(Op.GREY), lambda image: tv2.rgb_to_grayscale(image, 3), 1),
}


@pytest.mark.parametrize("name", TENSOR_CASES)
def test_an_op_agrees_with_torchvisions_tensor_arithmetic(name: str) -> None:
    call, function, tolerance = TENSOR_CASES[name]
    ours_3HW = tensor_of(apply_op(picture(), call, BICUBIC)).int()
    theirs_3HW = function(tensor_of(picture())).int()
    assert (ours_3HW - theirs_3HW).abs().max() <= tolerance


def test_blur_agrees_with_torchvisions_gaussian_inside_the_border() -> None:
    ours_3HW = tensor_of(apply_op(picture(), OpCall(Op.BLUR, 3 * ONE // 2), BICUBIC)).int()
    theirs_3HW = tv2.gaussian_blur(tensor_of(picture()), [13, 13], [1.5, 1.5]).int()
    difference = (ours_3HW - theirs_3HW)[:, 6:-6, 6:-6].abs()
    assert difference.float().mean() < 1.0
    assert difference.max() <= 5


@pytest.mark.parametrize("op", list(Op))
def test_an_op_leaves_its_image_alone_and_keeps_mode_and_size(op: Op) -> None:
    image = picture()
    before = image.tobytes()
    changed = apply_op(image, OpCall(op, 1), BICUBIC)
    assert image.tobytes() == before
    assert (changed.mode, changed.size) == (image.mode, image.size)


@settings(max_examples=25)
@given(width=st.integers(1, 9), height=st.integers(1, 9), op=st.sampled_from(list(Op)))
def test_an_op_takes_images_of_any_size(width: int, height: int, op: Op) -> None:
    assert apply_op(picture(width, height), OpCall(op, 1), BICUBIC).size == (width, height)


@pytest.mark.parametrize("shift", [-5, 3])
def test_translation_moves_pixels_and_fills_the_rest(shift: int) -> None:
    moved = np.asarray(apply_op(picture(), OpCall(Op.TRANSLATE_X, shift), BICUBIC))
    source = np.asarray(picture())
    kept = slice(0, 64 - shift) if shift > 0 else slice(-shift, 64)
    assert np.array_equal(moved[:, kept], source[:, max(shift, 0) : 64 + min(shift, 0)])
    filled = np.delete(moved, np.r_[kept], axis=1)
    assert (filled == FILL).all()
