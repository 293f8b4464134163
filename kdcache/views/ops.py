"""The colour and geometry ops, each a pure function of an RGB image and one integer.

Fractions are given in 1/65,536, so that a list of ops means the same on every machine. What each op does is
what Pillow does, hence also what timm's and torchvision's transforms of the same name do on Pillow images.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

__all__ = ["ONE", "Op", "OpCall", "Surroundings", "apply_op", "to_fixed"]

ONE = 65536
"""The fixed-point 1."""

Resampling = Image.Resampling
Rgb = tuple[int, int, int]


class Op(StrEnum):
    """An op by name; the comment gives the meaning of its integer."""

    AUTO_CONTRAST = "auto-contrast"  # none
    BLUR = "blur"  # radius / 65,536
    BRIGHTNESS = "brightness"  # factor / 65,536
    COLOUR = "colour"  # factor / 65,536
    CONTRAST = "contrast"  # factor / 65,536
    EQUALISE = "equalise"  # none
    GREY = "grey"  # none
    HUE = "hue"  # steps of 1/256 turn
    INVERT = "invert"  # none
    POSTERISE = "posterise"  # bits kept, 1 to 8
    ROTATE = "rotate"  # degrees counter-clockwise / 65,536
    SHARPNESS = "sharpness"  # factor / 65,536
    SHEAR_X = "shear-x"  # factor / 65,536
    SHEAR_Y = "shear-y"  # factor / 65,536
    SOLARISE = "solarise"  # lowest value that is inverted
    SOLARISE_ADD = "solarise-add"  # added to values below 128
    TRANSLATE_X = "translate-x"  # pixels to the left
    TRANSLATE_Y = "translate-y"  # pixels up


class OpCall(NamedTuple):
    """An op and its integer."""

    op: Op
    arg: int = 0


class Surroundings(NamedTuple):
    """What geometry ops need to know: the colour outside the image, and how to read between its pixels."""

    fill: Rgb
    resampling: Resampling


def to_fixed(value: float) -> int:
    """Return ``value`` in 1/65,536, rounded half to even."""
    return round(value * ONE)


def apply_op(image: Image.Image, call: OpCall, surroundings: Surroundings) -> Image.Image:
    """Return ``image`` (RGB) after one op; the argument is never changed in place."""
    return _TABLE[call.op](image, call.arg, surroundings)


def _auto_contrast(image: Image.Image, _arg: int, _: Surroundings) -> Image.Image:
    return ImageOps.autocontrast(image)


def _blur(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius=arg / ONE))


def _brightness(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(arg / ONE)


def _colour(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageEnhance.Color(image).enhance(arg / ONE)


def _contrast(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(arg / ONE)


def _equalise(image: Image.Image, _arg: int, _: Surroundings) -> Image.Image:
    return ImageOps.equalize(image)


def _grey(image: Image.Image, _arg: int, _: Surroundings) -> Image.Image:
    return image.convert("L").convert("RGB")


def _hue(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + arg) & 255 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _invert(image: Image.Image, _arg: int, _: Surroundings) -> Image.Image:
    return ImageOps.invert(image)


def _posterise(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageOps.posterize(image, arg)


def _rotate(image: Image.Image, arg: int, surroundings: Surroundings) -> Image.Image:
    return image.rotate(arg / ONE, surroundings.resampling, fillcolor=surroundings.fill)


def _sharpness(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(arg / ONE)


def _shear_x(image: Image.Image, arg: int, surroundings: Surroundings) -> Image.Image:
    return _affine(image, (1.0, arg / ONE, 0.0, 0.0, 1.0, 0.0), surroundings)


def _shear_y(image: Image.Image, arg: int, surroundings: Surroundings) -> Image.Image:
    return _affine(image, (1.0, 0.0, 0.0, arg / ONE, 1.0, 0.0), surroundings)


def _affine(image: Image.Image, matrix: tuple[float, ...], surroundings: Surroundings) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, surroundings.resampling, fillcolor=surroundings.fill
    )


def _solarise(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return ImageOps.solarize(image, arg)


def _solarise_add(image: Image.Image, arg: int, _: Surroundings) -> Image.Image:
    return image.point([min(255, level + arg) if level < 128 else level for level in range(256)] * 3)


def _translate_x(image: Image.Image, arg: int, surroundings: Surroundings) -> Image.Image:
    return _shift(image, -arg, 0, surroundings)


def _translate_y(image: Image.Image, arg: int, surroundings: Surroundings) -> Image.Image:
    return _shift(image, 0, -arg, surroundings)


def _shift(image: Image.Image, right: int, down: int, surroundings: Surroundings) -> Image.Image:
    shifted = Image.new("RGB", image.size, surroundings.fill)
    shifted.paste(image, (right, down))
    return shifted


_TABLE: dict[Op, Callable[[Image.Image, int, Surroundings], Image.Image]] = {
    Op.AUTO_CONTRAST: _auto_contrast,
    Op.BLUR: _blur,
    Op.BRIGHTNESS: _brightness,
    Op.COLOUR: _colour,
    Op.CONTRAST: _contrast,
    Op.EQUALISE: _equalise,
    Op.GREY: _grey,
    Op.HUE: _hue,
    Op.INVERT: _invert,
    Op.POSTERISE: _posterise,
    Op.ROTATE: _rotate,
    Op.SHARPNESS: _sharpness,
    Op.SHEAR_X: _shear_x,
    Op.SHEAR_Y: _shear_y,
    Op.SOLARISE: _solarise,
    Op.SOLARISE_ADD: _solarise_add,
    Op.TRANSLATE_X: _translate_x,
    Op.TRANSLATE_Y: _translate_y,
}
