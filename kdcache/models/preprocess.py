"""From a view's uint8 pixels to a network's input, on the network's own device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kdcache.errors import ConfigError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "InputSpec", "Preprocess", "input_spec_of"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input that a network was trained on: size, and mean and deviation of pixels in [0, 1]."""

    height: int
    width: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Interpolation = "bicubic"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as values that JSON has."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_pretrained_cfg(cls, cfg: Mapping[str, Any], *, where: str) -> Self:
        """Read timm's ``pretrained_cfg``; a filter that torch has not becomes bicubic.

        Raises:
            ConfigError: the network does not take three channels, or a field is missing.
        """
        if not cfg.get("input_size"):
            raise ConfigError(f"{where} does not say its input_size, mean and std; give them in the settings")
        channels, height, width = cfg["input_size"]
        if channels != 3:
            raise ConfigError(f"{where} takes {channels} channels, views have 3; choose an RGB network")
        mean, std = (tuple(float(x) for x in cfg.get(name) or ()) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ConfigError(f"{where}: mean {mean} and std {std} must have three numbers each")
        filtering: Interpolation = "bilinear" if cfg.get("interpolation") == "bilinear" else "bicubic"
        return cls(int(height), int(width), mean, std, filtering)


def input_spec_of(model: nn.Module, *, where: str) -> InputSpec:
    """Return the input that ``model.pretrained_cfg`` asks for, at the size the model was built for.

    Raises:
        ConfigError: the model does not say.
    """
    cfg = getattr(model, "pretrained_cfg", None)
    fields = dict(getattr(cfg, "to_dict", lambda: cfg or {})())
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if size is not None and fields.get("input_size"):
        fields["input_size"] = (fields["input_size"][0], *size)
    return InputSpec.from_pretrained_cfg(fields, where=where)


class Preprocess(nn.Module):
    """uint8 views (B, 3, H, W) to normalised float32 (B, 3, h, w).

    A view of another size is resized in float32 by torch's antialiased filter and not rounded back. There
    is nothing to learn and nothing in the state dict.
    """

    mean_31: Tensor
    std_31: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        # Normalising bytes directly: (x / 255 - mean) / std in one multiplication less.
        self.register_buffer("mean_31", _column(spec.mean) * 255.0, persistent=False)
        self.register_buffer("std_31", _column(spec.std) * 255.0, persistent=False)

    def forward(self, views_B3HW: Tensor) -> Tensor:
        """Resize if need be, and normalise."""
        images_B3HW = views_B3HW.to(torch.float32)
        size = (self.spec.height, self.spec.width)
        if images_B3HW.shape[-2:] != size:
            images_B3HW = interpolate(
                images_B3HW, size=size, mode=self.spec.interpolation, antialias=True, align_corners=False
            )
        return (images_B3HW - self.mean_31) / self.std_31


def _column(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(3, 1, 1)
