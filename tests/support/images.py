"""Pictures drawn in code, and their bytes in every format and mode that a data set may hold."""

import functools
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "MODE_MAKERS",
    "encode",
    "exif_with_orientation",
    "jpeg",
    "picture",
    "pixels",
    "png",
    "truncated",
    "webp",
]


@functools.lru_cache(maxsize=64)
def pixels(width: int = 64, height: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    """Return a picture as uint8 (height, width, 3): ramps, a disc and some noise, by integer arithmetic."""
    y, x = np.mgrid[0:height, 0:width]
    disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 3) ** 2
    noise = ((x * 73 + y * 151 + seed * 977) * 2654435761 >> 13) % 32
    red = x * 223 // max(1, width - 1)
    green = y * 223 // max(1, height - 1)
    blue = (x + y + seed * 37) * 5 % 224
    picture_HW3 = np.stack([np.where(disc, 223 - red, red), green, np.where(disc, 200, blue)], axis=2)
    drawn: NDArray[np.uint8] = (picture_HW3 + noise[:, :, None]).astype(np.uint8)
    drawn.flags.writeable = False
    return drawn


def picture(width: int = 64, height: int = 48, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Return the same picture as a Pillow image of any mode that ``convert`` reaches."""
    return Image.fromarray(pixels(width, height, seed)).convert(mode)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return an image's bytes in one of Pillow's formats."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(width: int = 64, height: int = 48, seed: int = 0, *, mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG of the picture; mode RGB, L or CMYK."""
    return encode(picture(width, height, seed, mode), "JPEG", **{"quality": 90, **options})


def png(width: int = 64, height: int = 48, seed: int = 0, *, mode: str = "RGB", **options: Any) -> bytes:
    """Return a PNG of the picture."""
    return encode(picture(width, height, seed, mode), "PNG", **options)


def webp(width: int = 64, height: int = 48, seed: int = 0, *, mode: str = "RGB", **options: Any) -> bytes:
    """Return a lossless WebP of the picture."""
    return encode(picture(width, height, seed, mode), "WEBP", **{"lossless": True, **options})


def truncated(encoded: bytes, share: float) -> bytes:
    """Return the first ``share`` of some bytes."""
    return encoded[: int(len(encoded) * share)]


def exif_with_orientation(orientation: int, *, order: str = "<") -> bytes:
    """Return an EXIF block that holds an orientation and nothing else."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHLHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(order + "LH", 8, 1) + entry + struct.pack(order + "L", 0)


def _grey16(size: tuple[int, int] = (64, 48)) -> Image.Image:
    levels_HW = np.linspace(0, 65535, size[0] * size[1]).astype(np.uint16).reshape(size[1], size[0])
    return Image.fromarray(levels_HW)


def _palette(transparency: Any = None) -> bytes:
    options = {} if transparency is None else {"transparency": transparency}
    return encode(picture().quantize(32), "PNG", **options)


MODE_MAKERS: dict[str, Callable[[], bytes]] = {
    "jpeg-rgb": jpeg,
    "jpeg-progressive": lambda: jpeg(progressive=True),
    "jpeg-grey": lambda: jpeg(mode="L"),
    "jpeg-cmyk": lambda: jpeg(mode="CMYK"),
    "jpeg-444": lambda: jpeg(subsampling=0),
    "jpeg-odd-size": lambda: jpeg(61, 47),
    "png-rgb": png,
    "png-rgba": lambda: png(mode="RGBA"),
    "png-grey": lambda: png(mode="L"),
    "png-grey-alpha": lambda: png(mode="LA"),
    "png-bilevel": lambda: png(mode="1"),
    "png-grey16": lambda: encode(_grey16(), "PNG"),
    "png-palette": _palette,
    "png-palette-transparent-index": lambda: _palette(3),
    "png-palette-transparent-bytes": lambda: _palette(bytes(range(0, 256, 8))),
    "png-rgb-transparent-colour": lambda: png(transparency=(1, 2, 3)),
    "webp-lossless": webp,
    "webp-lossy": lambda: webp(lossless=False, quality=80),
    "webp-rgba": lambda: webp(mode="RGBA"),
    "webp-animated": lambda: webp(save_all=True, append_images=[picture(seed=9)], duration=40),
    "bmp": lambda: encode(picture(), "BMP"),
    "gif": lambda: encode(picture(), "GIF"),
    "gif-animated": lambda: encode(picture(), "GIF", save_all=True, append_images=[picture(seed=9)]),
    "tiff-rgb": lambda: encode(picture(), "TIFF"),
    "tiff-cmyk": lambda: encode(picture(mode="CMYK"), "TIFF"),
    "tiff-int32": lambda: encode(_grey16().convert("I"), "TIFF"),
    "tiff-float": lambda: encode(picture(mode="F"), "TIFF"),
    "tiff-grey16": lambda: encode(_grey16(), "TIFF"),
}
"""Name -> a function that returns the bytes of a 64 x 48 picture (``jpeg-odd-size``: 61 x 47)."""
