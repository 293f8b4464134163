"""RedNet (Li et al. 2021): ResNets whose 3 x 3 convolutions are involutions, under names that timm knows.

Importing this module registers them with timm; there are no pretrained weights to fetch.
"""

from collections.abc import Sequence
from typing import Any, Literal

from timm.layers import ClassifierHead, DropPath  # type: ignore[attr-defined]  # timm lists no exports
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdcache.errors import ConfigError
from kdcache.models.involution import Involution2d
from kdcache.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["Bottleneck", "RedNet", "rednet26", "rednet38", "rednet50", "rednet_tiny"]

StemType = Literal["involution", "conv"]

_EXPANSION = 4


class RedNet(nn.Module):
    """Stem, stages of bottlenecks, and timm's pooled classifier: from images to logits (B, C).

    Args:
        depths: bottlenecks of each stage; every stage but the first halves the map.
        widths: channels of each stage's involutions; four times as many leave the stage.
        num_classes: of the classifier; 0 for none.
        in_chans: channels of the images.
        global_pool: timm's name for the pooling before the classifier.
        stem_type: ``involution``, which quarters height and width, or ``conv``, which halves them.
        stem_width: channels that leave the stem.
        kernel_size: of the bottlenecks' involutions.
        drop_rate: of the pooled features, while training.
        drop_path_rate: of the last bottleneck, while training; it grows linearly from 0 at the first.

    Raises:
        ConfigError: there is no such stem, or an involution cannot be had in these sizes.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        stem_type: StemType = "involution",
        stem_width: int = 64,
        kernel_size: int = 7,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if stem_type not in _STEMS:
            raise ConfigError(f"a RedNet's stem_type is {stem_type!r}, expected one of {', '.join(_STEMS)}")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.stem = nn.Sequential(*_STEMS[stem_type](in_chans, stem_width))
        self.stages = nn.Sequential()
        channels = stem_width
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = nn.Sequential()
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                rate = drop_path_rate * (sum(depths[:stage]) + block) / max(1, sum(depths) - 1)
                blocks.append(Bottleneck(channels, width, stride, kernel_size=kernel_size, drop_path=rate))
                channels = width * _EXPANSION
            self.stages.append(blocks)
        self.num_features = channels
        self.head = ClassifierHead(channels, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.head_hidden_size = self.head.num_features
        _initialise(self)

    def get_classifier(self) -> nn.Module:
        """Return the layer that makes the logits."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier, with new weights, in the place of the old one."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head_hidden_size = self.head.num_features

    def forward_features(self, images_B3HW: Tensor) -> Tensor:
        """Return the last map, before pooling (B, num_features, h, w)."""
        features_BCHW: Tensor = self.stages(self.stem(images_B3HW))
        return features_BCHW

    def forward_head(self, features_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits (B, C), or what the classifier would read."""
        output: Tensor = self.head(features_BCHW, pre_logits=pre_logits)
        return output

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return the logits (B, C)."""
        return self.forward_head(self.forward_features(images_B3HW))


class Bottleneck(nn.Module):
    """A residual block: 1 x 1 convolution to ``width``, involution, 1 x 1 convolution to four times ``width``."""

    def __init__(self, channels: int, width: int, stride: int, *, kernel_size: int, drop_path: float) -> None:
        super().__init__()
        channels_out = width * _EXPANSION
        self.branch = nn.Sequential(
            *_conv(channels, width, kernel_size=1),
            Involution2d(width, kernel_size, stride),
            *_norm(width),
            nn.Conv2d(width, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.drop_path = DropPath(drop_path)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != channels_out:
            self.shortcut.append(nn.Conv2d(channels, channels_out, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels_out))
        self.act = nn.ReLU()

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        branch_BCHW = self.drop_path(self.branch(features_BCHW))
        output_BCHW: Tensor = self.act(self.shortcut(features_BCHW) + branch_BCHW)
        return output_BCHW


def _involution_stem(in_chans: int, width: int) -> list[nn.Module]:
    half = width // 2
    return [
        *_conv(in_chans, half, kernel_size=3, stride=2),
        Involution2d(half, kernel_size=3),
        *_norm(half),
        *_conv(half, width, kernel_size=3),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]


def _conv_stem(in_chans: int, width: int) -> list[nn.Module]:
    return _conv(in_chans, width, kernel_size=3, stride=2)


_STEMS = {"involution": _involution_stem, "conv": _conv_stem}


def _conv(channels: int, channels_out: int, *, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels_out, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return [conv, *_norm(channels_out)]


def _norm(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _initialise(model: RedNet) -> None:
    """Draw He-normal convolutions, and let every residual block start as its shortcut."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.branch[-1].weight)  # type: ignore[arg-type]


def _cfg(**changes: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "first_conv": "stem.0",
        "classifier": "head.fc",
        **changes,
    }


default_cfgs = generate_default_cfgs(
    {
        "rednet26": _cfg(),
        "rednet38": _cfg(),
        "rednet50": _cfg(),
        "rednet_tiny": _cfg(num_classes=10, input_size=(3, 32, 32), pool_size=(4, 4), crop_pct=1.0),
    }
)


def _create(variant: str, pretrained: bool, arguments: dict[str, Any], **defaults: Any) -> RedNet:
    model: RedNet = build_model_with_cfg(RedNet, variant, pretrained, **{**defaults, **arguments})
    return model


@register_model
def rednet26(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """Make the network of 9.2 M parameters and 1.7 G multiply-adds at 224 x 224."""
    return _create("rednet26", pretrained, kwargs, depths=(1, 2, 4, 1))


@register_model
def rednet38(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """Make the network of 12.4 M parameters and 2.2 G multiply-adds at 224 x 224."""
    return _create("rednet38", pretrained, kwargs, depths=(2, 3, 5, 2))


@register_model
def rednet50(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """Make the network of 15.5 M parameters and 2.7 G multiply-adds at 224 x 224."""
    return _create("rednet50", pretrained, kwargs, depths=(3, 4, 6, 3))


@register_model
def rednet_tiny(pretrained: bool = False, **kwargs: Any) -> RedNet:
    """Make a network of our own for pictures of 28 to 64 pixels: 3 x 3 involutions, a small stem."""
    small = {"depths": (2, 2, 2), "widths": (16, 32, 64), "stem_type": "conv", "stem_width": 32}
    return _create("rednet_tiny", pretrained, kwargs, kernel_size=3, **small)
