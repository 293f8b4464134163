"""The view policy: the recipe that turns (sample, aug_seed) into a view, its presets and its digest."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kdcache.config.base import Settings
from kdcache.digest import json_sha256
from kdcache.errors import ConfigError

__all__ = ["PRESETS", "ColourJitter", "Erasing", "Mixing", "RandAugment", "ThreeAugment", "ViewPolicy"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Byte = Annotated[int, Field(ge=0, le=255)]
Length = Annotated[int, Field(ge=1, le=8192)]

IMAGENET_MEAN_RGB = (124, 116, 104)
"""ImageNet's mean colour as bytes: what timm fills with, and what erases to zero once normalised."""

IMAGENET_STD_RGB = (58.395, 57.12, 57.375)

_CROP_FIELDS: dict[str, tuple[str, ...]] = {
    "center": ("crop_pct",),
    "random-resized": ("scale", "ratio"),
    "padded": ("padding", "padding_mode"),
}


class ColourJitter(Settings):
    """Brightness, contrast, saturation and hue, in random order (torchvision's ``ColorJitter``).

    A factor is uniform in [max(0, 1 - strength), 1 + strength]; the hue shift in [-hue, hue] of a full turn.
    """

    brightness: float = Field(default=0.4, ge=0.0, le=10.0)
    contrast: float = Field(default=0.4, ge=0.0, le=10.0)
    saturation: float = Field(default=0.4, ge=0.0, le=10.0)
    hue: float = Field(default=0.0, ge=0.0, le=0.5)
    prob: Probability = 1.0


class RandAugment(Settings):
    """``num_ops`` of 15 ops, each drawn with replacement and applied with probability ``op_prob``.

    Cubuk et al. 2020, "RandAugment" (arXiv:1909.13719); the defaults are timm's ``rand-m9-mstd0.5-inc1``, as
    DeiT trains with (Touvron et al. 2021, arXiv:2012.12877, table 9).
    """

    magnitude: float = Field(default=9.0, ge=0.0, le=10.0)
    magnitude_std: float = Field(default=0.5, ge=0.0, le=10.0)
    num_ops: int = Field(default=2, ge=1, le=15)
    op_prob: Probability = 0.5
    increasing: bool = True
    fill: tuple[Byte, Byte, Byte] = IMAGENET_MEAN_RGB


class ThreeAugment(Settings):
    """One of grey, solarise and blur, equally likely.

    Touvron et al. 2022, "DeiT III: Revenge of the ViT" (arXiv:2204.07118, section 3).
    """

    solarise_threshold: int = Field(default=128, ge=0, le=256)
    blur_radius: tuple[float, float] = (0.1, 2.0)

    @model_validator(mode="after")
    def _check_radius(self) -> Self:
        _check_range("blur_radius", self.blur_radius, low=0.0, high=100.0)
        return self


class Erasing(Settings):
    """Random rectangles replaced before normalisation (Zhong et al. 2017, arXiv:1708.04896; timm's ranges).

    ``const`` fills with ``mean``; ``pixel`` draws every value from a normal distribution with ``mean`` and
    ``std``, in bytes. ``area`` is the share of the view that all rectangles of a view take together.
    """

    prob: Probability = 0.25
    mode: Literal["const", "pixel"] = "pixel"
    area: tuple[float, float] = (0.02, 1.0 / 3.0)
    min_aspect: float = Field(default=0.3, gt=0.0, le=1.0)
    max_count: int = Field(default=1, ge=1, le=16)
    mean: tuple[Byte, Byte, Byte] = IMAGENET_MEAN_RGB
    std: tuple[float, float, float] = IMAGENET_STD_RGB

    @model_validator(mode="after")
    def _check_area(self) -> Self:
        _check_range("area", self.area, low=0.0, high=1.0)
        if not all(0.0 <= std <= 255.0 for std in self.std):
            raise ValueError(f"std: found {self.std}, expected three numbers from 0 to 255")
        return self


class Mixing(Settings):
    """Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) between the two samples of a pair.

    An alpha of 0 switches that kind off; with both on, CutMix is taken with probability ``switch_prob``.
    """

    mixup_alpha: float = Field(default=0.8, ge=0.0, le=1.0)
    cutmix_alpha: float = Field(default=1.0, ge=0.0, le=1.0)
    prob: Probability = 1.0
    switch_prob: Probability = 0.5

    @model_validator(mode="after")
    def _check_some_kind_is_on(self) -> Self:
        if self.mixup_alpha == 0.0 and self.cutmix_alpha == 0.0:
            raise ValueError("mixup_alpha and cutmix_alpha are both 0; leave the mixing section out instead")
        return self


class ViewPolicy(Settings):
    """How a sample becomes a view; docs/policies.md explains every field.

    ``preset`` fills in the fields that are not given, and is a label from then on: two policies with equal
    fields are the same policy, whatever they are called.

    >>> ViewPolicy.named("rrc", size=192).height
    192
    """

    policy_version: Literal[1] = 1
    preset: str = "custom"
    size: Length | tuple[Length, Length] = 224
    crop: Literal["center", "random-resized", "padded"] = "random-resized"
    crop_pct: float = Field(default=0.875, gt=0.0, le=1.0)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0)
    padding: int = Field(default=0, ge=0)
    padding_mode: Literal["constant", "edge", "reflect"] = "constant"
    flip: Probability = 0.5
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    decoder: Literal["pillow"] = "pillow"
    draft: bool = False
    max_pixels: int = Field(default=178_956_970, ge=1)
    rand_augment: RandAugment | None = None
    three_augment: ThreeAugment | None = None
    colour_jitter: ColourJitter | None = None
    erasing: Erasing | None = None
    mixing: Mixing | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("preset", "custom") == "custom":
            return values
        preset = values["preset"]
        if preset not in PRESETS:
            raise ValueError(_unknown_preset(preset))
        return _overlay(PRESETS[preset], values)

    @model_validator(mode="after")
    def _check_geometry(self) -> Self:
        _check_range("scale", self.scale, low=0.0, high=1.0)
        _check_range("ratio", self.ratio, low=0.0, high=1000.0)
        if self.padding >= min(self.height, self.width):
            raise ValueError(f"padding {self.padding} must be smaller than the view ({self.size})")
        self._check_no_setting_is_ignored()
        return self

    def _check_no_setting_is_ignored(self) -> None:
        for crop, names in _CROP_FIELDS.items():
            for name in names:
                default = type(self).model_fields[name].default
                if crop != self.crop and getattr(self, name) != default:
                    raise ValueError(
                        f"{name} belongs to crop {crop!r} and crop is {self.crop!r}: "
                        f"leave {name} at {default} or choose crop {crop!r}"
                    )

    @property
    def height(self) -> int:
        """Rows of a view."""
        return self.size if isinstance(self.size, int) else self.size[0]

    @property
    def width(self) -> int:
        """Columns of a view."""
        return self.size if isinstance(self.size, int) else self.size[1]

    def digest(self) -> str:
        """Return the sha256 of the canonical JSON of every field but ``preset``; absent sections left out.

        ``size`` goes in as [height, width], however it was given.
        """
        fields = self.model_dump(mode="json", exclude={"preset"}, exclude_none=True)
        return json_sha256({**fields, "size": [self.height, self.width]})

    @classmethod
    def named(cls, preset: str, **overrides: Any) -> Self:
        """Return a preset with some fields changed; a section given as a mapping changes only what it names.

        Raises:
            ConfigError: the preset or a field is unknown, or a value does not fit.

        >>> ViewPolicy.named("deit", erasing={"mode": "const"}).erasing.prob
        0.25
        """
        if preset not in PRESETS:
            raise ConfigError(_unknown_preset(preset))
        return cls.parse({"preset": preset, **overrides}, where=f"view policy {preset!r}")


PRESETS: dict[str, dict[str, Any]] = {
    "center": {"crop": "center", "flip": 0.0},
    "rrc": {"crop": "random-resized"},
    "deit": {"crop": "random-resized", "rand_augment": {}, "erasing": {}},
    "three-augment": {
        "crop": "random-resized",
        "three_augment": {},
        "colour_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3},
    },
    "light": {"crop": "padded", "padding": 4, "padding_mode": "reflect"},
}
"""What each preset sets; every other field has its default."""


def _unknown_preset(preset: Any) -> str:
    near = difflib.get_close_matches(str(preset), PRESETS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown view policy {preset!r}; {hint}known: {', '.join(PRESETS)}"


def _overlay(preset: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {**preset, **values}
    for name, section in preset.items():
        if isinstance(section, dict) and isinstance(values.get(name), dict):
            merged[name] = {**section, **values[name]}
    return merged


def _check_range(name: str, bounds: tuple[float, float], *, low: float, high: float) -> None:
    if not low < bounds[0] <= bounds[1] <= high:
        raise ValueError(f"{name}: found {bounds}, expected two rising numbers in ({low:g}, {high:g}]")
