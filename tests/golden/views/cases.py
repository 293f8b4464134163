"""The 64 golden views: which image, which policy, which seed. Never change a line; add a policy version."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.views.decode import decode_for
from kdcache.views.mix import mix_params, mix_views
from kdcache.views.render import render_views

__all__ = ["CASES", "HERE", "GoldenView", "drawn", "golden_views"]

HERE = Path(__file__).parent

POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "center": ("center", {}),
    "center-wide": ("center", {"size": (48, 80), "crop_pct": 0.9, "interpolation": "bilinear"}),
    "rrc": ("rrc", {}),
    "rrc-lanczos": ("rrc", {"size": 96, "interpolation": "lanczos", "scale": (0.3, 0.9)}),
    "deit": ("deit", {}),
    "deit-strong": (
        "deit",
        {
            "size": 64,
            "rand_augment": {"num_ops": 8, "op_prob": 1.0, "magnitude_std": 3.0},
            "erasing": {"prob": 1.0, "max_count": 3},
            "colour_jitter": {"hue": 0.2},
        },
    ),
    "deit-const": ("deit", {"size": (56, 72), "erasing": {"prob": 1.0, "mode": "const"}}),
    "three-augment": ("three-augment", {"size": 96}),
    "light": ("light", {}),
    "light-28": ("light", {"size": 28, "padding": 2, "padding_mode": "constant"}),
    "mixup": ("rrc", {"size": 64, "mixing": {"cutmix_alpha": 0.0}}),
    "cutmix": ("deit", {"size": 64, "mixing": {"mixup_alpha": 0.0}}),
}

IMAGES = (
    "drawn-landscape",
    "drawn-portrait",
    "drawn-small",
    "baseline.jpg",
    "progressive.jpg",
    "rotated.jpg",
)


@dataclass(frozen=True)
class GoldenView:
    """One fixed view."""

    name: str
    image: str
    policy: ViewPolicy
    aug_seed: int


def _cases() -> Iterator[GoldenView]:
    for index in range(64):
        policy = list(POLICIES)[index % len(POLICIES)]
        image = IMAGES[(index + index // len(POLICIES)) % len(IMAGES)]
        preset, overrides = POLICIES[policy]
        name = f"{index:02d}-{policy}-{image}"
        yield GoldenView(name, image, ViewPolicy.named(preset, **overrides), aug_seed=index * index)


CASES = tuple(_cases())


def drawn(width: int, height: int, seed: int) -> Image.Image:
    """Return a picture made by integer arithmetic alone."""
    y, x = np.mgrid[0:height, 0:width]
    waves = ((x * x * (3 + seed) + y * y * 5) // 97) % 256
    stripes = (x * 7 + y * (11 + seed)) % 256
    blocks = ((x // 9 + y // 7 * 3) * 53 + seed * 29) % 256
    return Image.fromarray(np.stack([waves, stripes, blocks], axis=2).astype(np.uint8))


def image_of(name: str, policy: ViewPolicy) -> Image.Image:
    """Return a golden image by name."""
    if name.endswith(".jpg"):
        return decode_for(policy, (HERE / "images" / name).read_bytes(), where=name)
    width, height, seed = {"landscape": (300, 200, 0), "portrait": (150, 260, 1), "small": (28, 28, 2)}[
        name.removeprefix("drawn-")
    ]
    return drawn(width, height, seed)


def golden_views() -> Iterator[tuple[GoldenView, NDArray[np.uint8]]]:
    """Render all golden views; under a mixing policy the partner is the small drawn picture."""
    for case in CASES:
        image = image_of(case.image, case.policy)
        view_3HW = render_views(case.name, image, [case.aug_seed], case.policy)[0]
        if case.policy.mixing is not None:
            partner_3HW = render_views("partner", drawn(28, 28, 2), [case.aug_seed], case.policy)[0]
            params = mix_params(case.name, case.aug_seed, case.policy)
            view_3HW = mix_views(view_3HW, partner_3HW, params)
        yield case, view_3HW
