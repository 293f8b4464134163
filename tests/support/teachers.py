"""Small networks that tests name as ``tests.support.teachers:<factory>``, right and wrong ones."""

import os
import time

import torch
from torch import Tensor, nn

__all__ = [
    "FeatureCNN",
    "TinyCNN",
    "broken_factory",
    "colour_reader",
    "feature_cnn",
    "nan_cnn",
    "no_module",
    "probability_cnn",
    "reordered_cnn",
    "slow_cnn",
    "stranger_cnn",
    "tiny_cnn",
    "two_outputs",
]

CFG = {
    "input_size": (3, 24, 24),
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "interpolation": "bicubic",
}


class TinyCNN(nn.Module):
    """Two convolutions and a classifier, with weights of a seed."""

    def __init__(self, num_classes: int = 10, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width, num_classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        features = torch.relu(self.conv2(torch.relu(self.norm(self.conv(images_B3HW)))))
        logits_BC: Tensor = self.fc(features.mean(dim=(2, 3))) * 4.0
        return logits_BC


class FeatureCNN(TinyCNN):
    """The same network in timm's two parts; features brighter than 0.9 are ``bright``."""

    def __init__(self, num_classes: int = 10, seed: int = 0, bright: float | None = None) -> None:
        super().__init__(num_classes, seed)
        self.bright = bright

    def forward_features(self, images_B3HW: Tensor) -> Tensor:
        maps_BCHW = torch.relu(self.conv2(torch.relu(self.norm(self.conv(images_B3HW)))))
        if self.bright is not None:
            maps_BCHW[images_B3HW.mean(dim=(1, 2, 3)) > 0.9] = self.bright
        return maps_BCHW

    def forward_head(self, maps_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        features_BD = maps_BCHW.mean(dim=(2, 3))
        return features_BD if pre_logits else self.fc(features_BD) * 4.0

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images_B3HW))


class _Nan(TinyCNN):
    """NaN for bright pictures only."""

    def forward(self, images_B3HW: Tensor) -> Tensor:
        logits_BC = super().forward(images_B3HW)
        logits_BC[images_B3HW.mean(dim=(1, 2, 3)) > 0.9] = torch.nan
        return logits_BC


class _Slow(TinyCNN):
    """Takes its time, so that a test can stop it in the middle."""

    def forward(self, images_B3HW: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("KDCACHE_TEST_SLEEP", "0.03")))
        return super().forward(images_B3HW)


class _ColourReader(nn.Module):
    """Knows pictures whose mean grey level is 25 times their class."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("levels_C", torch.arange(num_classes) * 25.0)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        levels_B = (images_B3HW * 0.25 + 0.5).mean(dim=(1, 2, 3)) * 255.0
        levels_C: Tensor = self.get_buffer("levels_C")
        return -((levels_B[:, None] - levels_C) / 10.0).square()


def _with_cfg(module: nn.Module) -> nn.Module:
    module.pretrained_cfg = CFG  # type: ignore[assignment]
    return module


def tiny_cnn(num_classes: int = 10, seed: int = 0) -> nn.Module:
    """Return a network that says its own preprocessing."""
    return _with_cfg(TinyCNN(num_classes, seed))


def feature_cnn(num_classes: int = 10, seed: int = 0, bright: float | None = None) -> nn.Module:
    """Return ``tiny_cnn`` as a network that gives its features."""
    return _with_cfg(FeatureCNN(num_classes, seed, bright))


def stranger_cnn() -> nn.Module:
    """Return a network that does not."""
    return TinyCNN()


def slow_cnn() -> nn.Module:
    """Return a network that takes 30 ms for a batch."""
    return _with_cfg(_Slow())


def nan_cnn() -> nn.Module:
    """Return a network that fails on bright pictures."""
    return _with_cfg(_Nan())


def colour_reader(num_classes: int = 10) -> nn.Module:
    """Return a network that is right."""
    return _with_cfg(_ColourReader(num_classes))


def probability_cnn() -> nn.Module:
    """Return a network that ends in a softmax."""
    return _with_cfg(nn.Sequential(TinyCNN(), nn.Softmax(dim=1)))


class _TwoOutputs(TinyCNN):
    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits_BC = super().forward(images_B3HW)
        return logits_BC, logits_BC


def two_outputs() -> nn.Module:
    """Return a network that returns a pair."""
    return _with_cfg(_TwoOutputs())


def no_module() -> int:
    """Return something that is no network."""
    return 3


def broken_factory() -> nn.Module:
    """Fail."""
    raise FileNotFoundError("weights.bin")


def reordered_cnn(num_classes: int = 10) -> TinyCNN:
    """Return ``tiny_cnn`` with its classes in another order."""
    network = TinyCNN(num_classes)
    with torch.no_grad():
        network.fc.weight.copy_(network.fc.weight.flip(0))
        network.fc.bias.copy_(network.fc.bias.flip(0))
    network.pretrained_cfg = CFG  # type: ignore[assignment]
    return network
