"""What a view is made of: the numbers that a draw fixes and a render needs."""

from dataclasses import dataclass
from enum import IntEnum

from kdcache.views.ops import OpCall

__all__ = ["Box", "MatchStream", "MixStream", "Stream", "ViewParams"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are outside, as in Pillow."""


class Stream(IntEnum):
    """The counter word of each op of a policy in the domain ``view``; a number is never used again."""

    CROP = 0
    FLIP = 1
    RAND_AUGMENT = 2
    THREE_AUGMENT = 3
    COLOUR_JITTER = 4
    ERASING = 5
    ERASING_NOISE = 6


class MatchStream(IntEnum):
    """The counter word of each draw in the domain ``match``."""

    ORDER = 0


class MixStream(IntEnum):
    """The counter word of each draw in the domain ``mix``."""

    KIND = 0
    LAMBDA = 1
    BOX = 2


@dataclass(frozen=True, slots=True)
class ViewParams:
    """One view of an image of a known size, in integers only, so that it means the same everywhere.

    Attributes:
        source: the part of the image that is used.
        resized: width and height that the source is resized to.
        window: the part of the resized source that is the view; it may stick out by the policy's padding.
        flip: whether left and right are swapped.
        ops: the colour and geometry ops, in order.
        erase: rectangles of the view that are replaced, in order.
        noise_key: Philox key of the noise for the rectangles.
    """

    source: Box
    resized: tuple[int, int]
    window: Box
    flip: bool = False
    ops: tuple[OpCall, ...] = ()
    erase: tuple[Box, ...] = ()
    noise_key: tuple[int, int] = (0, 0)
