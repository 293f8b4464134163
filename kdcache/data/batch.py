"""What a training step gets: views, labels and cached targets."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.losses.targets import TeacherTargets

__all__ = ["DistillBatch"]


@dataclass(frozen=True, slots=True)
class DistillBatch:
    """One micro-batch of B views.

    Attributes:
        images_B3HW: uint8 views, not normalised: that happens on the device.
        labels_B: int64 classes, -1 for a sample without a label.
        teachers: the targets of each teacher by name; empty when none were asked for.
        keys: the sample keys.
        aug_seeds_B: int64.
        lam_B: float32 weight of a view's own label under a mixing policy, else None; 1 where it is unmixed.
        partner_labels_B: int64 label of the other part of a mixed view, -1 where unlabelled, else None.
        num_checked: how many of the views were compared with the cache's digest.
        num_drifted: how many of those differ by a decoder's rounding, where that is allowed.
        features: the cached embeddings (B, D) by teacher, float16, NaN in rows without any; empty unless
            they were asked for.
    """

    images_B3HW: Tensor
    labels_B: Tensor
    teachers: dict[str, TeacherTargets]
    keys: tuple[str, ...]
    aug_seeds_B: Tensor
    lam_B: Tensor | None = None
    partner_labels_B: Tensor | None = None
    num_checked: int = 0
    num_drifted: int = 0
    features: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return B."""
        return len(self.keys)

    @property
    def teacher(self) -> TeacherTargets:
        """The targets of the only teacher.

        Raises:
            ConfigError: there are none, or several.
        """
        if len(self.teachers) != 1:
            raise ConfigError(
                f"this batch has the targets of {len(self.teachers)} teachers ({', '.join(self.teachers)}); "
                "name the one that is meant, as in batch.teachers['resnet50']"
            )
        return next(iter(self.teachers.values()))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the batch on ``device``."""
        return self._map(
            lambda tensor: tensor.to(device, non_blocking=non_blocking),
            lambda targets: targets.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; the DataLoader calls this."""
        return self._map(lambda tensor: tensor.pin_memory(), lambda targets: targets.pin_memory())

    def _map(
        self, change: Callable[[Tensor], Tensor], change_targets: Callable[[TeacherTargets], TeacherTargets]
    ) -> Self:
        return replace(
            self,
            images_B3HW=change(self.images_B3HW),
            labels_B=change(self.labels_B),
            teachers={name: change_targets(targets) for name, targets in self.teachers.items()},
            aug_seeds_B=change(self.aug_seeds_B),
            lam_B=None if self.lam_B is None else change(self.lam_B),
            partner_labels_B=None if self.partner_labels_B is None else change(self.partner_labels_B),
            features={name: change(features_BD) for name, features_BD in self.features.items()},
        )
