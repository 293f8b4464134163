"""The demo's teacher: a small convolutional network for 28 x 28 clothing pictures.

``kdcache precompute --teacher kdcache.demo.teacher:fashion_cnn --teacher-checkpoint teacher.safetensors``
"""

from typing import Final

from torch import Tensor, nn

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "FashionCNN", "fashion_cnn"]

IMAGE_MEAN: Final = (0.286, 0.286, 0.286)
IMAGE_STD: Final = (0.353, 0.353, 0.353)


class FashionCNN(nn.Module):
    """A VGG-shaped network (0.27 M parameters) over (B, 3, 28, 28) normalised pictures, in 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv(1, 24, kernel=5),
            nn.MaxPool2d(2),
            *_conv(24, 48, kernel=3),
            *_conv(48, 48, kernel=3),
            nn.MaxPool2d(2),
            *_conv(48, 96, kernel=3),
            *_conv(96, 96, kernel=3),
            nn.MaxPool2d(3, stride=2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(96 * 9, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        return self.forward_head(self.forward_features(images_B3HW))

    def forward_features(self, images_B3HW: Tensor) -> Tensor:
        """Return maps (B, 96, 3, 3); the pictures are grey, so one of the three equal channels is enough."""
        maps_BDHW: Tensor = self.features(images_B3HW[:, :1])
        return maps_BDHW

    def forward_head(self, maps_BDHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, 10) of the maps, or the 128 features that they are made from."""
        out_BC: Tensor = self.head[:3](maps_BDHW) if pre_logits else self.head(maps_BDHW)
        return out_BC


def _conv(channels_in: int, channels_out: int, *, kernel: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(channels_out), nn.ReLU()


def fashion_cnn() -> nn.Module:
    """Build the teacher without weights; the shipped ones are ``kdcache/demo/teacher.safetensors``."""
    return FashionCNN()
