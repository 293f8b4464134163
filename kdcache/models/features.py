"""What a network's classifier is given: one pooled vector a view, from the same forward pass as the logits.

The convention is timm's: ``forward`` is ``forward_head(forward_features(images))``, and ``forward_head`` with
``pre_logits=True`` stops before the classifier. Networks with a distillation token give the mean of both tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn

from kdcache.errors import ConfigError

__all__ = ["WithFeatures", "count_features", "features_and_output"]

Output = Tensor | tuple[Tensor, Tensor]

_PARTS = ("forward_features", "forward_head")


def features_and_output(network: nn.Module, images_B3HW: Tensor) -> tuple[Tensor, Output]:
    """Return a network's embedding (B, D), and what ``network(images_B3HW)`` returns, to the bit.

    The body runs once. The head runs up to the classifier a second time: pooling and a norm in most networks,
    and in training another draw of its dropout.
    """
    parts: Any = network
    body = parts.forward_features(images_B3HW)
    # First, so that it draws the random numbers that it would draw alone.
    output: Output = parts.forward_head(body)
    features_BD: Tensor = parts.forward_head(body, pre_logits=True)
    return features_BD, output


class WithFeatures(nn.Module):
    """``features_and_output`` as a module: for DistributedDataParallel and ``torch.compile``, which wrap ``forward``.

    Weights stay those of ``network``, which may be used, saved and averaged on its own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, Output]:
        """Return (features, output)."""
        return features_and_output(self.network, images_B3HW)


def count_features(network: nn.Module, size: tuple[int, int], *, where: str, remedy: str) -> int:
    """Return D, the length of the embedding, from a look at one image of this (height, width).

    Raises:
        ConfigError: the network does not follow the convention.
    """
    missing = [part for part in _PARTS if not callable(getattr(network, part, None))]
    if missing:
        raise ConfigError(
            f"{where} gives no features: it has no {' and no '.join(missing)}, as timm's networks have; add them "
            f"(docs/precompute.md), or {remedy}"
        )
    weight = next(network.parameters(), torch.empty(0))
    image_13HW = torch.linspace(-1.0, 1.0, 3 * size[0] * size[1], device=weight.device).reshape(1, 3, *size)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            expected, (features_1D, output) = network(image_13HW), features_and_output(network, image_13HW)
    except Exception as error:
        # A network may raise whatever it likes when it is asked in a way that it does not know.
        raise ConfigError(
            f"{where} gives no features: {type(error).__name__}: {error}; its forward_head(features, "
            f"pre_logits=True) must return what its classifier is given, or {remedy}"
        ) from error
    finally:
        network.train(was_training)
    if not _are_equal(expected, output):
        raise ConfigError(
            f"{where} gives no features: its output is not forward_head(forward_features(images)); make it so, or "
            f"{remedy}"
        )
    if not isinstance(features_1D, Tensor) or features_1D.ndim != 2:
        raise ConfigError(
            f"{where} gives features of shape {tuple(getattr(features_1D, 'shape', ()))} for one image, expected "
            f"(1, D): pool them in forward_head, or {remedy}"
        )
    return features_1D.shape[1]


def _are_equal(one: Output, other: Output) -> bool:
    pairs = zip(_tensors(one), _tensors(other), strict=False)
    return len(_tensors(one)) == len(_tensors(other)) and all(torch.equal(a, b) for a, b in pairs)


def _tensors(output: Output) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
