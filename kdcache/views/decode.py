"""From encoded bytes to an RGB image, or to an error that names the sample.

The plugins are called directly: ``Image.open`` adds a size check whose limit, and whose answer (a warning or
an error), are global settings of Pillow that any other library may change.
"""

import io
import math
import struct
import threading
import warnings
from collections.abc import Callable

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from kdcache.config.views import ViewPolicy
from kdcache.errors import BadImageError, ConfigError, ImageTooLargeError
from kdcache.views.modes import to_rgb

__all__ = ["decode_for", "decode_image"]

_Plugin = Callable[[io.BytesIO], ImageFile.ImageFile]

_PLUGINS: tuple[tuple[bytes, _Plugin], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
    (b"P5", PpmImagePlugin.PpmImageFile),
    (b"P6", PpmImagePlugin.PpmImageFile),
)

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_ORIENTATION_TAG = 0x0112
_silence = threading.Lock()


def decode_image(
    encoded: bytes, *, max_pixels: int, where: str, draft_size: tuple[int, int] | None = None
) -> Image.Image:
    """Decode a JPEG, PNG, WebP, BMP, GIF or TIFF (the first frame) to an upright RGB image.

    docs/policies.md says what becomes of every mode. Threads may decode side by side.

    Args:
        encoded: the file's bytes.
        max_pixels: more than this many pixels are refused before they are decoded.
        where: shard and sample, for the message.
        draft_size: a JPEG may be decoded at 1/2, 1/4 or 1/8, but not below this (width, height).

    Raises:
        BadImageError: the bytes are no image, or a broken or cut one.
        ImageTooLargeError: more than ``max_pixels`` pixels.
        ConfigError: Pillow has been told to accept cut images.
    """
    _refuse_lenient_pillow()
    return _guarded(lambda: _decode(_open(encoded, max_pixels, where), draft_size), where)


def decode_for(policy: ViewPolicy, encoded: bytes, *, where: str) -> Image.Image:
    """Decode as ``policy`` says: its pixel limit and, where it asks for it, its draft mode.

    Raises:
        BadImageError: the bytes are no image, or a broken or cut one.
        ImageTooLargeError: more than ``policy.max_pixels`` pixels.
    """
    draft_size = _draft_size(policy) if policy.draft else None
    return decode_image(encoded, max_pixels=policy.max_pixels, where=where, draft_size=draft_size)


def _draft_size(policy: ViewPolicy) -> tuple[int, int]:
    """Return the least (width, height) of a draft: a fixed crop's own resize, else twice the view."""
    if policy.crop == "center":
        return math.floor(policy.width / policy.crop_pct), math.floor(policy.height / policy.crop_pct)
    if policy.crop == "padded":
        return policy.width, policy.height
    return 2 * policy.width, 2 * policy.height


def _refuse_lenient_pillow() -> None:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True: Pillow then paints the missing part of a cut image "
            "grey and says nothing; set it to False, because kdcache has to know which samples are broken"
        )


def _open(encoded: bytes, max_pixels: int, where: str) -> ImageFile.ImageFile:
    """Read the header and refuse what is too large, before any pixel is decoded."""
    image = _plugin_for(encoded, where)(io.BytesIO(encoded))
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{where}: {width} x {height} pixels, more than max_pixels = {max_pixels}; "
            "raise max_pixels in the view policy if the image is meant to be that large"
        )
    return image


def _plugin_for(encoded: bytes, where: str) -> _Plugin:
    for magic, plugin in _PLUGINS:
        if encoded.startswith(magic):
            return plugin
    found = f"it begins with {encoded[:16]!r}" if encoded else "it has no bytes"
    raise BadImageError(f"{where}: not a JPEG, PNG, WebP, BMP, GIF or TIFF image: {found}; {_WAY_OUT}")


def _decode(image: ImageFile.ImageFile, draft_size: tuple[int, int] | None) -> Image.Image:
    if draft_size is not None and image.size[0] >= draft_size[0] and image.size[1] >= draft_size[1]:
        image.draft(None, draft_size)
    image.load()
    turn = _TRANSPOSE.get(_orientation(image))
    rgb = to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where there is none or the EXIF block is broken.

    TIFF files arrive upright: Pillow turns them itself while it loads them.
    """
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        return 1
    try:
        return _orientation_in(exif.removeprefix(b"Exif\0\0"))
    except struct.error:
        return 1


def _orientation_in(tiff: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    (start,) = struct.unpack_from(order + "L", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack_from(order + "HHLH", tiff, entry)
        if tag == _ORIENTATION_TAG:
            return int(value)
    return 1


_WAY_OUT = "replace the file, or let the run skip it with --on-bad-sample skip"


def _guarded(step: Callable[[], Image.Image], where: str) -> Image.Image:
    """Run a step of Pillow and turn whatever it raises into an error that names the sample."""
    try:
        return _silently(step)
    except (BadImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{where}: {error}; {_WAY_OUT}") from error
    except Exception as error:
        # Plugins raise whatever their parser trips over: OSError, SyntaxError, KeyError, struct.error, ...
        raise BadImageError(
            f"{where}: cannot be decoded: {error or type(error).__name__}; {_WAY_OUT}"
        ) from error


def _silently(step: Callable[[], Image.Image]) -> Image.Image:
    """Run ``step``; where warnings are errors, run it again without them.

    Whether a sample is broken must not depend on the filters of the program that reads it. Filters are
    global, so they are left alone unless a warning has become an error.
    """
    try:
        return step()
    except Warning:
        with _silence, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return step()
