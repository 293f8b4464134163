"""What a student is trained on: label loss and teachers' losses, each on its head, weighed and added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from kdcache.config.train import TrainConfig
from kdcache.config.train_losses import DistillLossName, Tail
from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError, ShardError
from kdcache.losses.registry import DISTILL_LOSSES, distill_loss
from kdcache.losses.targets import TeacherTargets
from kdcache.losses.task import label_loss
from kdcache.students import heads_of
from kdcache.train.ramp import Ramp

__all__ = ["Losses", "Objective"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars, float32: ``total`` is what is minimised, the others are its parts before weighing."""

    total: Tensor
    task: Tensor
    distill: Tensor
    feature: Tensor


@dataclass(frozen=True, slots=True)
class Objective:
    """The label loss, the teachers' loss and that of their features, each times its weight.

    The last two are sums over teachers, weighed by ``teachers``.

    At one temperature the gradient of a weighted sum of ``kl`` is that of the ``kl`` with the weighted mixture.

    Attributes:
        teachers: the weight of each teacher; they sum to one.
    """

    task_loss_weight: Ramp
    distill_loss_weight: Ramp
    temperature: Ramp
    distill_loss: DistillLossName
    teachers: Mapping[str, float]
    options: Mapping[str, float]
    tail: Tail
    smoothing: float
    feature_loss_weight: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig, *, teachers: Sequence[str], has_distillation_head: bool) -> Self:
        """Fill in what ``config`` leaves open: DeiT's recipe with a distillation token, plain kl without.

        Raises:
            ConfigError: both weights come out as zero.
        """
        shape = config.loss_sched
        task, distill = (0.5, 0.5) if has_distillation_head else (0.0, 1.0)
        task = task if config.task_loss_weight is None else config.task_loss_weight
        distill = distill if config.distill_loss_weight is None else config.distill_loss_weight
        task_ramp = Ramp(task, _or(config.task_loss_weight_end, task), shape)
        distill_ramp = Ramp(distill, _or(config.distill_loss_weight_end, distill), shape)
        temperature = Ramp(config.temperature, _or(config.temperature_end, config.temperature), shape)
        if task_ramp.is_zero and distill_ramp.is_zero and not config.feature_loss_weight:
            raise ConfigError(
                "task_loss_weight and distill_loss_weight are both 0: there is nothing to learn from; "
                "labels only is --task-loss-weight 1 --distill-loss-weight 0"
            )
        plain: DistillLossName = "hard" if has_distillation_head and temperature.ends == (1.0,) else "kl"
        loss = config.distill_loss or plain
        weights = config.teacher_weights or (1.0,) * len(teachers)
        return cls(
            task_loss_weight=task_ramp,
            distill_loss_weight=distill_ramp,
            temperature=temperature,
            distill_loss=loss,
            teachers={name: weight / sum(weights) for name, weight in zip(teachers, weights, strict=True)},
            options=config.distill_loss_kwargs,
            tail=config.tail or ("uniform" if loss == "dkd" else "bucket"),
            smoothing=config.smoothing,
            feature_loss_weight=config.feature_loss_weight,
        )

    @property
    def needs_targets(self) -> bool:
        """False with labels only: no target is then read."""
        return not self.distill_loss_weight.is_zero

    @property
    def needs_labels(self) -> bool:
        """True with labels only: a sample without a label would teach nothing."""
        return not self.needs_targets and not self.feature_loss_weight

    @property
    def separates_heads(self) -> bool:
        """A head of its own for each loss; with one loss only, the average that inference uses is trained."""
        return self.needs_targets and not self.task_loss_weight.is_zero

    def __call__(
        self,
        output: Tensor | tuple[Tensor, Tensor],
        batch: DistillBatch,
        *,
        feature: Tensor | None = None,
        progress: float = 0.0,
    ) -> Losses:
        """Return the losses of a batch, given the student's output on it.

        Args:
            output: logits (B, C), or those of class head and distillation head.
            batch: on the same device.
            feature: the distance to the teachers' features, where there is such a loss.
            progress: the share of the run's steps that are done.
        """
        class_logits_BC, distill_logits_BC = heads_of(output)
        zero = torch.zeros((), device=class_logits_BC.device)
        task = zero if self.task_loss_weight.is_zero else self._task(class_logits_BC, batch)
        distill = self._distill(distill_logits_BC, batch, progress) if self.needs_targets else zero
        total = self.task_loss_weight.at(progress) * task + self.distill_loss_weight.at(progress) * distill
        if feature is None:
            return Losses(total, task, distill, zero)
        return Losses(total + self.feature_loss_weight * feature, task, distill, feature)

    def check(self, batch: DistillBatch) -> None:
        """Refuse unlabelled samples where labels are all there is to learn from (on the CPU, before a step).

        Raises:
            ShardError: naming the first such sample.
        """
        if self.needs_labels and (missing := (batch.labels_B < 0).nonzero().flatten().tolist()):
            raise ShardError(
                f"sample {batch.keys[missing[0]]!r} has no label ({len(missing)} of {len(batch.keys)} in its "
                "batch), and with labels only (distill_loss_weight 0) there is nothing to learn from it; "
                "leave out the shards without labels, or give --distill-loss-weight a value above 0"
            )

    def try_out(self, targets: TeacherTargets) -> None:
        """Refuse before the first step what the loss would refuse in it.

        Raises:
            ConfigError: the loss takes no such option, tail or temperature with these targets.
        """
        logits_BC = torch.zeros(len(targets), targets.num_classes)
        for temperature in self.temperature.ends:
            self._loss(logits_BC, targets, torch.zeros(len(targets), dtype=torch.int64), temperature)

    def _task(self, logits_BC: Tensor, batch: DistillBatch) -> Tensor:
        return label_loss(
            logits_BC,
            batch.labels_B,
            smoothing=self.smoothing,
            lam_B=batch.lam_B,
            partner_labels_B=batch.partner_labels_B,
        )

    def _distill(self, logits_BC: Tensor, batch: DistillBatch, progress: float) -> Tensor:
        temperature, labels_B = self.temperature.at(progress), _larger_labels(batch)
        losses = [
            weight * self._loss(logits_BC, batch.teachers[name], labels_B, temperature)
            for name, weight in self.teachers.items()
        ]
        return torch.stack(losses).sum()

    def _loss(
        self, logits_BC: Tensor, targets: TeacherTargets, labels_B: Tensor, temperature: float
    ) -> Tensor:
        loss = DISTILL_LOSSES[self.distill_loss]
        return distill_loss(
            self.distill_loss,
            logits_BC,
            targets,
            temperature=temperature,
            tail=self.tail,
            labels_B=labels_B if loss.needs_labels else None,
            options=self.options,
        )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _larger_labels(batch: DistillBatch) -> Tensor:
    """Return the label of each view's larger part, (B,)."""
    if batch.lam_B is None or batch.partner_labels_B is None:
        return batch.labels_B
    return torch.where(batch.lam_B >= 0.5, batch.labels_B, batch.partner_labels_B)
