"""Which colour and geometry ops a view gets, and how strongly.

Each function takes a fixed number of words for each decision, in the order that docs/policies.md states.
"""

from kdcache.config.views import ColourJitter, RandAugment, ThreeAugment
from kdcache.keys import Words
from kdcache.views.ops import Op, OpCall, to_fixed

__all__ = [
    "RAND_AUGMENT_OPS",
    "draw_colour_jitter",
    "draw_rand_augment",
    "draw_three_augment",
    "rand_augment_arg",
]

RAND_AUGMENT_OPS = (
    Op.AUTO_CONTRAST,
    Op.EQUALISE,
    Op.INVERT,
    Op.ROTATE,
    Op.POSTERISE,
    Op.SOLARISE,
    Op.SOLARISE_ADD,
    Op.COLOUR,
    Op.CONTRAST,
    Op.BRIGHTNESS,
    Op.SHARPNESS,
    Op.SHEAR_X,
    Op.SHEAR_Y,
    Op.TRANSLATE_X,
    Op.TRANSLATE_Y,
)
"""The op set of timm's RandAugment, in its order."""

_MAX_MAGNITUDE = 10.0
_ENHANCERS = (Op.COLOUR, Op.CONTRAST, Op.BRIGHTNESS, Op.SHARPNESS)


def draw_rand_augment(section: RandAugment, words: Words, view_size: tuple[int, int]) -> tuple[OpCall, ...]:
    """Draw the ops of a view of (width, height); four words an op: which, whether, magnitude, sign."""
    drawn = (_draw_one(section, words, view_size) for _ in range(section.num_ops))
    return tuple(call for call in drawn if call is not None)


def _draw_one(section: RandAugment, words: Words, view_size: tuple[int, int]) -> OpCall | None:
    op = RAND_AUGMENT_OPS[words.integer(len(RAND_AUGMENT_OPS))]
    applied = words.uniform() < section.op_prob
    magnitude = min(max(words.normal(section.magnitude, section.magnitude_std), 0.0), _MAX_MAGNITUDE)
    sign = 1 - 2 * words.integer(2)
    if not applied:
        return None
    arg = rand_augment_arg(op, magnitude, sign, increasing=section.increasing, view_size=view_size)
    return OpCall(op, arg)


def rand_augment_arg(
    op: Op, magnitude: float, sign: int, *, increasing: bool, view_size: tuple[int, int]
) -> int:
    """Return the integer of ``op`` at a magnitude in [0, 10]: the ranges of timm's RandAugment.

    Two differences, both on purpose: posterise keeps at least one bit (at magnitude 10 timm asks for none,
    which Pillow 13 refuses), and translations are whole pixels.
    """
    level = magnitude / _MAX_MAGNITUDE
    if op in _ENHANCERS:
        return to_fixed(max(0.1, 1.0 + sign * 0.9 * level) if increasing else 0.1 + 1.8 * level)
    match op:
        case Op.ROTATE:
            return to_fixed(sign * 30.0 * level)
        case Op.SHEAR_X | Op.SHEAR_Y:
            return to_fixed(sign * 0.3 * level)
        case Op.TRANSLATE_X:
            return round(sign * 0.45 * level * view_size[0])
        case Op.TRANSLATE_Y:
            return round(sign * 0.45 * level * view_size[1])
    return _threshold_arg(op, level, increasing=increasing)


def _threshold_arg(op: Op, level: float, *, increasing: bool) -> int:
    match op:
        case Op.POSTERISE:
            bits = int(level * 4.0)
            return max(1, 4 - bits if increasing else bits)
        case Op.SOLARISE:
            threshold = min(256, int(level * 256.0))
            return 256 - threshold if increasing else threshold
        case Op.SOLARISE_ADD:
            return min(128, int(level * 110.0))
    return 0


def draw_three_augment(section: ThreeAugment, words: Words) -> OpCall:
    """Draw one of grey, solarise and blur; two words: which, radius."""
    kind = words.integer(3)
    radius = words.uniform(*section.blur_radius)
    if kind == 0:
        return OpCall(Op.GREY)
    if kind == 1:
        return OpCall(Op.SOLARISE, section.solarise_threshold)
    return OpCall(Op.BLUR, to_fixed(radius))


def draw_colour_jitter(section: ColourJitter, words: Words) -> tuple[OpCall, ...]:
    """Draw the jitter ops in their order; eight words: whether, order (3), the four strengths."""
    applied = words.uniform() < section.prob
    order = [0, 1, 2, 3]
    for last in (3, 2, 1):
        other = words.integer(last + 1)
        order[last], order[other] = order[other], order[last]
    calls = (
        _factor(Op.BRIGHTNESS, section.brightness, words.uniform()),
        _factor(Op.CONTRAST, section.contrast, words.uniform()),
        _factor(Op.COLOUR, section.saturation, words.uniform()),
        OpCall(Op.HUE, int(section.hue * (2.0 * words.uniform() - 1.0) * 255.0)),
    )
    strengths = (section.brightness, section.contrast, section.saturation, section.hue)
    return tuple(calls[index] for index in order if applied and strengths[index] > 0.0)


def _factor(op: Op, strength: float, u: float) -> OpCall:
    low = max(0.0, 1.0 - strength)
    return OpCall(op, to_fixed(low + (1.0 + strength - low) * u))
