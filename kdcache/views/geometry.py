"""Which part of an image a view shows: the rules of timm's and torchvision's crops, drawn from words."""

import math

from kdcache.config.views import ViewPolicy
from kdcache.keys import ViewRandom, Words
from kdcache.views.params import Box, Stream

__all__ = ["Geometry", "draw_geometry"]

Geometry = tuple[Box, tuple[int, int], Box]
"""Source box, resized (width, height), window."""

_ATTEMPTS = 10


def draw_geometry(policy: ViewPolicy, rng: ViewRandom, image_size: tuple[int, int]) -> Geometry:
    """Draw source, resize and window for an image of (width, height)."""
    if policy.crop == "random-resized":
        source = _random_resized(policy, rng.words(Stream.CROP, 2 * _ATTEMPTS + 2), image_size)
        return source, (policy.width, policy.height), (0, 0, policy.width, policy.height)
    whole = (0, 0, *image_size)
    if policy.crop == "center":
        resized = _fit(image_size, policy, policy.crop_pct)
        return whole, resized, _central_window(resized, policy)
    resized = _fit(image_size, policy, 1.0)
    return whole, resized, _padded_window(resized, policy, rng.words(Stream.CROP, 2))


def _random_resized(policy: ViewPolicy, words: Words, image_size: tuple[int, int]) -> Box:
    """Draw a box of random area and aspect (Szegedy et al. 2015; torchvision's ``RandomResizedCrop``)."""
    width, height = image_size
    low, high = (math.log(bound) for bound in policy.ratio)
    for _ in range(_ATTEMPTS):
        area = words.uniform(*policy.scale) * (width * height)
        aspect = math.exp(words.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = words.integer(height - h + 1)
            left = words.integer(width - w + 1)
            return left, top, left + w, top + h
    return _central_source(policy.ratio, width, height)


def _central_source(ratio: tuple[float, float], width: int, height: int) -> Box:
    """Return the largest central box whose aspect is allowed, where no attempt did fit."""
    w, h = width, height
    if width / height < ratio[0]:
        h = min(height, max(1, round(width / ratio[0])))
    elif width / height > ratio[1]:
        w = min(width, max(1, round(height * ratio[1])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _fit(image_size: tuple[int, int], policy: ViewPolicy, crop_pct: float) -> tuple[int, int]:
    """Return the size at which the image just covers the view divided by ``crop_pct``, as timm does."""
    width, height = image_size
    target_h, target_w = math.floor(policy.height / crop_pct), math.floor(policy.width / crop_pct)
    if target_h != target_w:
        ratio = min(height / target_h, width / target_w)
        return max(target_w, round(width / ratio)), max(target_h, round(height / ratio))
    if width <= height:
        return target_w, int(target_w * height / width)
    return int(target_h * width / height), target_h


def _central_window(resized: tuple[int, int], policy: ViewPolicy) -> Box:
    top = round((resized[1] - policy.height) / 2.0)
    left = round((resized[0] - policy.width) / 2.0)
    return left, top, left + policy.width, top + policy.height


def _padded_window(resized: tuple[int, int], policy: ViewPolicy, words: Words) -> Box:
    top = words.integer(resized[1] + 2 * policy.padding - policy.height + 1) - policy.padding
    left = words.integer(resized[0] + 2 * policy.padding - policy.width + 1) - policy.padding
    return left, top, left + policy.width, top + policy.height
