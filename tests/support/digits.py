"""A teacher for 8 x 8 digits that trains in seconds."""

from torch import Tensor, nn

__all__ = ["DigitsCNN", "digits_cnn"]


class DigitsCNN(nn.Module):
    """Two convolutions and two linear layers over (B, 3, 8, 8); the pictures are grey."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(48 * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        logits_BC: Tensor = self.net(images_B3HW[:, :1])
        return logits_BC


def digits_cnn() -> nn.Module:
    """Build the teacher without weights."""
    return DigitsCNN()
