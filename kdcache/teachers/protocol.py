"""What stage one asks of a teacher."""

from typing import Any, Protocol

import torch
from torch import Tensor

from kdcache.models.preprocess import InputSpec
from kdcache.runtime.device import Precision

__all__ = ["FeatureTeacher", "Teacher"]


class Teacher(Protocol):
    """A frozen network with its own preprocessing.

    Attributes:
        name: its name in the cache.
        architecture: timm's name, or ``module:factory``.
        source: where its weights are from, for people.
        num_classes: C.
        inputs: the input that views are brought to; None for an ensemble, whose members have their own.
        precision: of matrix products.
        weights_sha256: digest of its state dict as loaded.
        device: where it computes.
        class_map_sha256: digest of the map from its own classes to the cache's, if there is one.
        ensemble: how it combines other teachers, if it does.
    """

    name: str
    architecture: str
    source: str
    num_classes: int
    inputs: InputSpec | None
    precision: Precision
    weights_sha256: str
    device: torch.device
    class_map_sha256: str | None
    ensemble: dict[str, Any] | None

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        """Return float32 logits (B, C) of uint8 views on the teacher's device."""
        ...


class FeatureTeacher(Teacher, Protocol):
    """A teacher with a classifier, whose input may be stored as well.

    Attributes:
        num_features: D, the length of that vector; 0 where it was built without.
    """

    num_features: int

    def with_features(self, views_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return its logits, as without features to the bit, and float32 features (B, D), of one forward pass."""
        ...
