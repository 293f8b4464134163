"""A student that is also compared with cached features: with the linear maps that are trained beside it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdcache.config.train import TrainConfig
from kdcache.losses.feature import FeatureLoss
from kdcache.models.features import Output, features_and_output
from kdcache.store.reader import Cache
from kdcache.students import Student
from kdcache.train.objective import Objective

__all__ = ["FeatureLearner", "build_learner"]


class FeatureLearner(nn.Module):
    """What DistributedDataParallel and ``torch.compile`` wrap; ``network`` is the student alone.

    Args:
        network: the student.
        losses: one for each teacher.
        weights: of the teachers.
    """

    def __init__(self, network: nn.Module, losses: Sequence[FeatureLoss], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)  # first: timm takes a model's last parameters for its head
        self.network = network
        self.weights = tuple(weights)

    def forward(self, images_B3HW: Tensor, features: Sequence[Tensor]) -> tuple[Output, Tensor]:
        """Return the student's output, and the weighed distance to each teacher's features (B, D)."""
        features_BS, output = features_and_output(self.network, images_B3HW)
        parts = [
            weight * loss(features_BS, teacher_BD)
            for weight, loss, teacher_BD in zip(self.weights, self.losses, features, strict=True)
        ]
        return output, torch.stack(parts).sum()


def build_learner(
    config: TrainConfig, cache: Cache, student: Student, objective: Objective
) -> FeatureLearner | None:
    """Return what is trained where there is a feature loss, None where there is none.

    Raises:
        ConfigError: the student gives no features.
        StoreError: the cache has none of a teacher.
    """
    if not objective.feature_loss_weight:
        return None
    width = student.num_features()
    losses = [
        FeatureLoss(width, cache.num_features(name), kind=config.feature_loss, seed=config.seed)
        for name in objective.teachers
    ]
    return FeatureLearner(student.model, losses, tuple(objective.teachers.values()))
