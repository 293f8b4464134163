"""How fast views are rendered: against timm's transform, and with several views per decode.

Run ``python -m tests.benchmarks.views [--json] [--repeats N]``. Both sides of a ratio take turns on the same
images in the same process, on one thread; a ratio is the median over the repeats, with its quartiles.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data.transforms_factory import create_transform

from kdcache.config.views import ViewPolicy
from kdcache.views.decode import decode_for
from kdcache.views.render import render_views

__all__ = ["main", "measure", "photographs"]

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


def measure(repeats: int, num_images: int) -> dict[str, dict[str, float]]:
    """Return every ratio by name, as median and quartiles, with the absolute times of our side."""
    torch.set_num_threads(1)
    encoded = photographs(num_images)
    return {
        DEIT: _against_timm(ViewPolicy.named("deit"), encoded, repeats, re_prob=0.25, re_mode="pixel"),
        BARE: _against_timm(ViewPolicy.named("deit", erasing=None), encoded, repeats, normalize=False),
        RRC_FOUR: _per_decode("rrc", encoded, repeats),
        DEIT_FOUR: _per_decode("deit", encoded, repeats),
    }


def _against_timm(policy: ViewPolicy, encoded: list[bytes], repeats: int, **options: Any) -> dict[str, float]:
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

    return _ratio(timms, ours, repeats, views=4 * len(images))


def _posterise_at_least_one_bit(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    return image if bits_to_keep >= 8 else ImageOps.posterize(image, max(1, bits_to_keep))


def _per_decode(preset: str, encoded: list[bytes], repeats: int) -> dict[str, float]:
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

    return _ratio(once, four, repeats, views=4 * len(encoded))


def _ratio(
    reference: Callable[[int], None], ours: Callable[[int], None], repeats: int, *, views: int
) -> dict[str, float]:
    """Time the two in turn, after one untimed turn each, in CPU seconds of this process."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(repeats + 1):
        for is_ours, work in ((False, reference), (True, ours)):
            started = time.process_time()
            work(turn)
            times[is_ours].append(time.process_time() - started)
    ratios = [theirs / mine for theirs, mine in zip(times[False][1:], times[True][1:], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "ratio": median,
        "lower_quartile": low,
        "upper_quartile": high,
        "ms_per_view": 1e3 * statistics.median(times[True][1:]) / views,
        "reference_ms_per_view": 1e3 * statistics.median(times[False][1:]) / views,
    }


def main() -> None:
    """Print the ratios beside their goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.repeats, options.images)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for name, found in results.items():
        spread = f"{found['lower_quartile']:.2f} to {found['upper_quartile']:.2f}"
        goal = f", goal {GOALS[name]}x" if GOALS[name] else ""
        cost = f"{found['ms_per_view']:.2f} ms a view, reference {found['reference_ms_per_view']:.2f} ms"
        print(f"{name}: {found['ratio']:.2f}x ({spread}){goal}; {cost}")


if __name__ == "__main__":
    main()
