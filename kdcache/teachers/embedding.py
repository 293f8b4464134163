"""What a teacher's classifier is given, stored as one teacher more."""

from typing import Any

from torch import Tensor

from kdcache.models.preprocess import InputSpec
from kdcache.runtime.device import Precision
from kdcache.teachers.protocol import FeatureTeacher

__all__ = ["Embedding"]


class Embedding:
    """The embedding of a teacher: a teacher whose outputs are features; see ``protocol.Teacher``.

    Attributes:
        owner: the teacher, which is asked for logits and features in one go.
        num_features: D.
    """

    class_map_sha256: str | None = None
    ensemble: dict[str, Any] | None = None

    def __init__(self, owner: FeatureTeacher, *, name: str) -> None:
        self.owner, self.name = owner, name
        self.num_features = owner.num_features
        self.architecture, self.source = owner.architecture, owner.source
        self.weights_sha256, self.num_classes = owner.weights_sha256, owner.num_classes
        self.inputs: InputSpec | None = owner.inputs
        self.precision: Precision = owner.precision
        self.device = owner.device

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        """Return float32 features (B, D) of uint8 views on the teacher's device."""
        return self.owner.with_features(views_B3HW)[1]
