"""Every mode that Pillow can decode, as RGB: the meaning of ``convert("RGB")``, without its accidents."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["to_rgb"]

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as RGB; an image that is RGB already is returned as it is.

    Alpha and transparent colours are dropped, as ``convert("RGB")`` does and timm's and torchvision's
    readers therefore do. More than eight bits keep their high byte (``convert`` would saturate them). Floats
    are cut to [0, 255].
    """
    if image.mode == "RGB":
        return image
    if image.mode in _SIXTEEN_BIT:
        return _grey(np.asarray(image) >> 8)
    if image.mode == "I":
        return _grey(np.clip(np.asarray(image), 0, 65535) >> 8)
    if image.mode == "F":
        return _grey(np.clip(np.nan_to_num(np.asarray(image), nan=0.0), 0.0, 255.0))
    # A palette's transparency in bytes makes convert() warn; RGB has no place for it anyway.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _grey(levels_HW: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(levels_HW.astype(np.uint8)).convert("RGB")
