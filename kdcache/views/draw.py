"""From a seed to the parameters of a view: pure, and integers only."""

from kdcache.config.views import ViewPolicy
from kdcache.keys import ViewRandom
from kdcache.views.draw_ops import draw_colour_jitter, draw_rand_augment, draw_three_augment
from kdcache.views.erasing import draw_erasing
from kdcache.views.geometry import draw_geometry
from kdcache.views.ops import OpCall
from kdcache.views.params import Stream, ViewParams

__all__ = ["draw"]


def draw(policy: ViewPolicy, rng: ViewRandom, image_size: tuple[int, int]) -> ViewParams:
    """Draw one view of an image of (width, height); equal arguments give equal parameters, everywhere."""
    source, resized, window = draw_geometry(policy, rng, image_size)
    boxes = draw_erasing(policy.erasing, rng, (policy.width, policy.height)) if policy.erasing else ()
    return ViewParams(
        source=source,
        resized=resized,
        window=window,
        flip=_flips(policy, rng),
        ops=_draw_ops(policy, rng),
        erase=boxes,
        noise_key=rng.key if boxes else (0, 0),
    )


def _flips(policy: ViewPolicy, rng: ViewRandom) -> bool:
    return policy.flip > 0.0 and rng.words(Stream.FLIP, 1).uniform() < policy.flip


def _draw_ops(policy: ViewPolicy, rng: ViewRandom) -> tuple[OpCall, ...]:
    ops: tuple[OpCall, ...] = ()
    if policy.rand_augment is not None:
        words = rng.words(Stream.RAND_AUGMENT, 4 * policy.rand_augment.num_ops)
        ops += draw_rand_augment(policy.rand_augment, words, (policy.width, policy.height))
    if policy.three_augment is not None:
        ops += (draw_three_augment(policy.three_augment, rng.words(Stream.THREE_AUGMENT, 2)),)
    if policy.colour_jitter is not None:
        ops += draw_colour_jitter(policy.colour_jitter, rng.words(Stream.COLOUR_JITTER, 8))
    return ops
