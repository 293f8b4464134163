"""Several teachers as one: their probabilities or their logits, averaged before any class is cut off."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor

from kdcache.digest import json_sha256
from kdcache.models.preprocess import InputSpec
from kdcache.runtime.device import Precision
from kdcache.teachers.protocol import Teacher

__all__ = ["Ensemble", "combined_logits"]

How = Literal["mean-prob", "mean-logit"]


class Ensemble:
    """A weighted mean of teachers that see the same views; see ``protocol.Teacher`` for its attributes.

    Attributes:
        members: the teachers.
        weights: one for each, summing to 1.
    """

    inputs: InputSpec | None = None
    class_map_sha256: str | None = None
    precision: Precision = "float32"

    def __init__(
        self, members: Sequence[Teacher], *, name: str, how: How, weights: Sequence[float] | None = None
    ) -> None:
        given = [1.0] * len(members) if weights is None else list(weights)
        self.name = name
        self.how: Final[How] = how
        self.members = tuple(members)
        self.weights = tuple(weight / sum(given) for weight in given)
        self.num_classes = members[0].num_classes
        self.device = members[0].device
        self.architecture = f"{how} of {', '.join(teacher.name for teacher in members)}"
        self.source = f"combined from {len(members)} teachers of this cache"
        self.ensemble: dict[str, Any] | None = {
            "combine": how,
            "members": [
                {
                    "name": teacher.name,
                    "weight": round(weight, 12),
                    "architecture": teacher.architecture,
                    "weights_sha256": teacher.weights_sha256,
                    "precision": teacher.precision,
                    "class_map_sha256": teacher.class_map_sha256,
                    "input": None if teacher.inputs is None else teacher.inputs.to_json(),
                }
                for teacher, weight in zip(members, self.weights, strict=True)
            ],
        }
        self.weights_sha256 = json_sha256(self.ensemble)

    def __call__(self, views_B3HW: Tensor) -> Tensor:
        """Ask every member and combine what they say."""
        return self.combine({teacher.name: teacher(views_B3HW) for teacher in self.members})

    def combine(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Combine the members' float32 logits (B, C), given by name."""
        return combined_logits([logits[teacher.name] for teacher in self.members], self.weights, self.how)


def combined_logits(logits: Sequence[Tensor], weights: Sequence[float], how: How) -> Tensor:
    """Return the weighted mean of float32 logits (B, C).

    ``mean-prob``: log of the mean of the softmaxes at T = 1, computed as a log-sum-exp in float32, so that
    small probabilities don't vanish. ``mean-logit``: the mean of the logits; a class that one member has at
    -inf is at -inf.
    """
    with torch.inference_mode():
        if how == "mean-logit":
            return torch.stack([w * logits_BC for w, logits_BC in zip(weights, logits, strict=True)]).sum(
                dim=0
            )
        log_weights = torch.tensor(weights, dtype=torch.float64).log().tolist()
        parts = [
            torch.log_softmax(logits_BC, dim=1) + log_weight
            for log_weight, logits_BC in zip(log_weights, logits, strict=True)
        ]
        return torch.logsumexp(torch.stack(parts), dim=0)
