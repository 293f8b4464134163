"""What decodes and resizes here: versions, and the pixels that they make of a few probe images.

Two machines with equal probe digests render equal views, as far as the probes reach; where they differ, a
digest mismatch in training is explained by the decoder rather than by the data.
"""

import functools
from collections.abc import Mapping
from importlib import resources

import numpy as np
import xxhash
from PIL import Image, __version__, features

from kdcache.views.decode import decode_image
from kdcache.views.ops import ONE, Op, OpCall, Surroundings, apply_op
from kdcache.views.resample import resize

__all__ = ["PROBES", "decoder_fingerprint", "drifted_probes"]

PROBES = ("baseline.jpg", "progressive.jpg", "cmyk.jpg", "rotated.jpg", "grey16.png", "lossy.webp")

_SIZE = (32, 28)
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_OPS = (
    OpCall(Op.AUTO_CONTRAST),
    OpCall(Op.EQUALISE),
    OpCall(Op.COLOUR, ONE // 2),
    OpCall(Op.SHARPNESS, 3 * ONE // 2),
    OpCall(Op.BLUR, ONE),
    OpCall(Op.ROTATE, 20 * ONE),
    OpCall(Op.HUE, 17),
)
_SURROUNDINGS = Surroundings((124, 116, 104), Image.Resampling.BICUBIC)


def decoder_fingerprint() -> dict[str, str]:
    """Return versions and probe digests by name; the probes are decoded once per process, in milliseconds."""
    versions = {
        "pillow": __version__,
        "libjpeg_turbo": features.version("libjpeg_turbo") or "none",
        "zlib": features.version("zlib") or "none",
        "webp": features.version("webp") or "none",
    }
    return {**versions, **_probe_digests()}


def drifted_probes(stored: Mapping[str, str], current: Mapping[str, str]) -> tuple[str, ...]:
    """Return the probes of two fingerprints whose pixels differ, or that only one of them has."""
    probes = sorted(name for name in {*stored, *current} if name.startswith("probe:"))
    return tuple(name for name in probes if stored.get(name) != current.get(name))


@functools.cache
def _probe_digests() -> dict[str, str]:
    digests = {f"probe:{name}": _probe_digest(name) for name in PROBES}
    return {**digests, "probe:ops": _ops_digest()}


def _probe_digest(name: str) -> str:
    image = _decoded(name)
    digest = xxhash.xxh3_64(image.tobytes())
    for resampling in _FILTERS:
        digest.update(resize(image, _SIZE, resampling).tobytes())
    return digest.hexdigest()


def _ops_digest() -> str:
    """Digest what the ops make of an image that needs no decoder."""
    rows, columns = np.mgrid[0:28, 0:32]
    levels_HW3 = np.stack([rows * 9, columns * 7, (rows * columns) % 251], axis=2)
    image = Image.fromarray(levels_HW3.astype(np.uint8))
    digest = xxhash.xxh3_64()
    for call in _OPS:
        digest.update(apply_op(image, call, _SURROUNDINGS).tobytes())
    return digest.hexdigest()


def _decoded(name: str) -> Image.Image:
    encoded = resources.files("kdcache.views.probes").joinpath(name).read_bytes()
    return decode_image(encoded, max_pixels=10_000, where=f"probe {name}")
