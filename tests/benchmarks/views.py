"""How fast views are rendered: against timm's transform, and with several views per decode.

Run ``python -m tests.benchmarks.views [--short] [--json] [--repeats N] [--images N]``. Both sides of a ratio take turns
on the same images in the same process, on one thread; a ratio is the median over the repeats, in CPU seconds.
"""

import io
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data.transforms_factory import create_transform

from kdcache.config.views import ViewPolicy
from kdcache.views.decode import decode_for
from kdcache.views.render import render_views
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone

__all__ = ["GOALS", "photographs", "rows"]

DEIT = "deit against timm"
BARE = "deit without erasing against timm without normalisation"
RRC_FOUR = "rrc, 4 views per decode against 1"
DEIT_FOUR = "deit, 4 views per decode against 1"
GOALS = {DEIT: 1.2, BARE: None, RRC_FOUR: 1.5, DEIT_FOUR: 1.25}


def photographs(count: int = 12, size: tuple[int, int] = (500, 375)) -> list[bytes]:
    """Return JPEGs of ImageNet's usual size and about its weight (110 kB), as textured as photographs."""
    encoded = []
    for seed in range(count):
        rng = np.random.Generator(np.random.PCG64(seed))
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)).resize(
                    size, Image.Resampling.BICUBIC
                ),
                dtype=np.float32,
            )
            for rows, columns in ((5, 7), (20, 27), (95, 126), (375, 500))
        ]
        weights = (0.5, 0.25, 0.15, 0.1)
        mixed = sum(weight * layer for weight, layer in zip(weights, layers, strict=True))
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(mixed).astype(np.uint8)).save(buffer, "JPEG", quality=96)
        encoded.append(buffer.getvalue())
    return encoded


def rows(*, short: bool = False, repeats: int | None = None, images: int = 12) -> list[Row]:
    """Return every ratio of views/s."""
    turns = repeats or (7 if short else 25)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoded = photographs(images)
        bare = ViewPolicy.named("deit", erasing=None)
        return [
            _against_timm(DEIT, ViewPolicy.named("deit"), encoded, turns, re_prob=0.25, re_mode="pixel"),
            _against_timm(BARE, bare, encoded, turns, normalize=False),
            _per_decode(RRC_FOUR, "rrc", encoded, turns),
            _per_decode(DEIT_FOUR, "deit", encoded, turns),
        ]
    finally:
        torch.set_num_threads(threads)


def _against_timm(what: str, policy: ViewPolicy, encoded: list[bytes], repeats: int, **options: Any) -> Row:
    """Render the same decoded images under the same ops; timm's erasing comes after its normalisation."""
    images = [decode_for(policy, data, where="benchmark") for data in encoded]
    reference: Callable[[Image.Image], Any] = create_transform(
        224,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        **options,
    )
    reference.transforms[2].ops[4].aug_fn = _posterise_at_least_one_bit  # type: ignore[attr-defined]

    def ours(turn: int) -> None:
        for index, image in enumerate(images):
            render_views(str(index), image, range(4 * turn, 4 * turn + 4), policy)

    def timms(_: int) -> None:
        for image in images:
            for _ in range(4):
                reference(image)

    return _ratio(what, timms, ours, repeats, views=4 * len(images))


def _posterise_at_least_one_bit(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    return image if bits_to_keep >= 8 else ImageOps.posterize(image, max(1, bits_to_keep))


def _per_decode(what: str, preset: str, encoded: list[bytes], repeats: int) -> Row:
    policy = ViewPolicy.named(preset)

    def once(turn: int) -> None:
        for index, data in enumerate(encoded):
            for seed in range(4 * turn, 4 * turn + 4):
                image = decode_for(policy, data, where="benchmark")
                render_views(str(index), image, [seed], policy)

    def four(turn: int) -> None:
        for index, data in enumerate(encoded):
            image = decode_for(policy, data, where="benchmark")
            render_views(str(index), image, range(4 * turn, 4 * turn + 4), policy)

    return _ratio(what, once, four, repeats, views=4 * len(encoded))


def _ratio(
    what: str, reference: Callable[[int], None], ours: Callable[[int], None], repeats: int, *, views: int
) -> Row:
    theirs, mine = in_turns([reference, ours], repeats)
    ratios = [their / my for their, my in zip(theirs, mine, strict=True)]
    cost, reference_cost = (1e3 * statistics.median(seconds) / views for seconds in (mine, theirs))
    note = f"{cost:.2f} ms a view, reference {reference_cost:.2f} ms"
    return median_of(what, ratios, goal=GOALS[what], note=note)


if __name__ == "__main__":
    run_alone(__doc__, rows, flags={"repeats": int, "images": int})
