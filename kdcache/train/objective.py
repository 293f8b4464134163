"""What a student is trained on: label loss and teacher's loss, each on its head, weighed and added."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from kdcache.config.train import TrainConfig
from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError, ShardError
from kdcache.losses.distill import Tail, hard, kl
from kdcache.losses.targets import TeacherTargets
from kdcache.losses.task import label_loss
from kdcache.students import heads_of

__all__ = ["Losses", "Objective"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars, float32: ``total`` is what is minimised, the others are its parts before weighing."""

    total: Tensor
    task: Tensor
    distill: Tensor


@dataclass(frozen=True, slots=True)
class Objective:
    """task_loss_weight * task + distill_loss_weight * distill."""

    task_loss_weight: float
    distill_loss_weight: float
    distill_loss: Literal["kl", "hard"]
    temperature: float
    tail: Tail
    smoothing: float

    @classmethod
    def of(cls, config: TrainConfig, *, has_distillation_head: bool) -> Self:
        """Fill in what ``config`` leaves open: DeiT's recipe with a distillation token, plain kl without.

        Raises:
            ConfigError: both weights come out as zero.
        """
        task, distill = (0.5, 0.5) if has_distillation_head else (0.0, 1.0)
        task = task if config.task_loss_weight is None else config.task_loss_weight
        distill = distill if config.distill_loss_weight is None else config.distill_loss_weight
        if task == 0 and distill == 0:
            raise ConfigError(
                "task_loss_weight and distill_loss_weight are both 0: there is nothing to learn from; "
                "labels only is --task-loss-weight 1 --distill-loss-weight 0"
            )
        plain: Literal["kl", "hard"] = "hard" if has_distillation_head and config.temperature == 1.0 else "kl"
        return cls(
            task_loss_weight=task,
            distill_loss_weight=distill,
            distill_loss=config.distill_loss or plain,
            temperature=config.temperature,
            tail=config.tail,
            smoothing=config.smoothing,
        )

    @property
    def needs_targets(self) -> bool:
        """False with labels only: no target is then read."""
        return self.distill_loss_weight > 0

    @property
    def needs_labels(self) -> bool:
        """True with labels only: a sample without a label would teach nothing."""
        return not self.needs_targets

    @property
    def separates_heads(self) -> bool:
        """A head of its own for each loss; with one loss only, the average that inference uses is trained."""
        return self.task_loss_weight > 0 and self.distill_loss_weight > 0

    def __call__(self, output: Tensor | tuple[Tensor, Tensor], batch: DistillBatch) -> Losses:
        """Return the losses of a batch, given the student's output on it.

        Raises:
            ShardError: a sample has no label and labels are all there is to learn from.
        """
        class_logits_BC, distill_logits_BC = heads_of(output)
        zero = torch.zeros((), device=class_logits_BC.device)
        task = self._task(class_logits_BC, batch) if self.task_loss_weight > 0 else zero
        distill = self._distill(distill_logits_BC, batch.teacher) if self.needs_targets else zero
        return Losses(self.task_loss_weight * task + self.distill_loss_weight * distill, task, distill)

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

    def _task(self, logits_BC: Tensor, batch: DistillBatch) -> Tensor:
        return label_loss(
            logits_BC,
            batch.labels_B,
            smoothing=self.smoothing,
            lam_B=batch.lam_B,
            partner_labels_B=batch.partner_labels_B,
        )

    def _distill(self, logits_BC: Tensor, teacher: TeacherTargets) -> Tensor:
        if self.distill_loss == "hard":
            return hard(logits_BC, teacher)
        return kl(logits_BC, teacher, temperature=self.temperature, tail=self.tail)
