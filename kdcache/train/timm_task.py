"""A training task for timm's loops that takes the teacher's targets from a cache instead of from a teacher."""

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from timm.task import TrainingTask
from timm.utils.model import unwrap_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError
from kdcache.losses.distill import Tail, hard, kl
from kdcache.losses.targets import TeacherTargets
from kdcache.losses.task import label_loss
from kdcache.students import heads_of

__all__ = ["CachedLogitTask"]

Criterion = Callable[[Tensor, Tensor], Tensor]


class CachedLogitTask(TrainingTask):
    """Label loss and distillation loss of a student, as timm's ``LogitDistillationTask``, without a teacher.

    A student with a distillation token learns labels on its class head and the teacher on its distillation
    head, as in timm's ``TokenDistillationTask``. Weights: both as given; with ``task_loss_weight`` alone the
    teacher's is 1 - it; with ``distill_loss_weight`` alone, or with none, what is left out is 1.
    """

    def __init__(
        self,
        student_model: nn.Module,
        teacher: str | None = None,
        criterion: Criterion | None = None,
        *,
        loss_type: Literal["kl", "hard"] = "kl",
        distill_loss_weight: float | None = None,
        task_loss_weight: float | None = None,
        temperature: float = 1.0,
        tail: Tail = "bucket",
        smoothing: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        """Take a student that is on its device already.

        Args:
            student_model: the student.
            teacher: which teacher's targets; may be left out where batches carry one.
            criterion: label loss over (logits, labels); by default cross-entropy with ``smoothing``. It is
                given the rows that have a label.
            loss_type: ``kl``, or ``hard``: cross-entropy with the teacher's best class.
            distill_loss_weight: weight of the teacher's loss.
            task_loss_weight: weight of the label loss.
            temperature: of ``kl``.
            tail: what stands for the classes that the cache cut off.
            smoothing: label smoothing, without a criterion of your own.
            device: as for every timm task.
            dtype: as for every timm task.
            verbose: as for every timm task.

        Raises:
            ConfigError: the loss type is unknown, or smoothing is asked for beside a criterion.
        """
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        if loss_type not in {"kl", "hard"}:
            raise ConfigError(f"loss_type is {loss_type!r}, expected 'kl' or 'hard'")
        if criterion is not None and smoothing:
            raise ConfigError(
                f"smoothing {smoothing:g} is for the built-in label loss; smooth inside your criterion"
            )
        self.trainable_module = student_model
        student = unwrap_model(student_model)
        if hasattr(student, "set_distilled_training"):
            student.set_distilled_training(True)
        self.teacher, self.criterion, self.loss_type = teacher, criterion, loss_type
        self.temperature, self.tail, self.smoothing = temperature, tail, smoothing
        self.task_loss_weight, self.distill_loss_weight = _weights(task_loss_weight, distill_loss_weight)

    def prepare_distributed(self, device_ids: list[int] | None = None, **ddp_kwargs: Any) -> Self:
        """Wrap the student in DistributedDataParallel; there is nothing else to prepare."""
        self.trainable_module = DistributedDataParallel(
            self.trainable_module, device_ids=device_ids, **ddp_kwargs
        )
        return self

    def compile(  # type: ignore[override]  # torch's Module.compile returns nothing, timm's tasks a module
        self, backend: str = "inductor", mode: str | None = None, **compile_kwargs: Any
    ) -> nn.Module:
        """Compile the student for training and evaluation."""
        compiled: Any = torch.compile(self.trainable_module, backend=backend, mode=mode, **compile_kwargs)
        self.trainable_module = self.eval_model = compiled
        return self.trainable_module

    def forward(  # type: ignore[override]  # the target is a batch, not labels alone
        self,
        input: Tensor,  # noqa: A002 - timm's name
        target: DistillBatch,
    ) -> dict[str, Tensor]:
        """Return ``loss``, ``output`` (the class head's logits), ``task_loss`` and ``kd_loss``.

        Args:
            input: the views, normalised for the student, on its device.
            target: the batch that they are from, on the same device: its labels and cached targets.

        Raises:
            ConfigError: the batch lacks the teacher, or a criterion is used on mixed views.
        """
        class_logits_BC, distill_logits_BC = heads_of(self.trainable_module(input))
        task_loss = self._task_loss(class_logits_BC, target)
        kd_loss = self._kd_loss(distill_logits_BC, self._targets(target))
        return {
            "loss": self.task_loss_weight * task_loss + self.distill_loss_weight * kd_loss,
            "output": class_logits_BC,
            "task_loss": task_loss,
            "kd_loss": kd_loss,
        }

    def _targets(self, batch: DistillBatch) -> TeacherTargets:
        if self.teacher is None:
            return batch.teacher
        if self.teacher not in batch.teachers:
            raise ConfigError(
                f"the batch has no targets of {self.teacher!r} but of {', '.join(batch.teachers) or 'none'}; "
                "name one of these as the task's teacher"
            )
        return batch.teachers[self.teacher]

    def _kd_loss(self, logits_BC: Tensor, targets: TeacherTargets) -> Tensor:
        if self.loss_type == "hard":
            return hard(logits_BC, targets)
        return kl(logits_BC, targets, temperature=self.temperature, tail=self.tail)

    def _task_loss(self, logits_BC: Tensor, batch: DistillBatch) -> Tensor:
        if self.criterion is None:
            return label_loss(
                logits_BC,
                batch.labels_B,
                smoothing=self.smoothing,
                lam_B=batch.lam_B,
                partner_labels_B=batch.partner_labels_B,
            )
        if batch.lam_B is not None:
            raise ConfigError(
                "the cache's policy mixes pairs of samples, whose labels a criterion of (logits, labels) cannot "
                "take; leave criterion out: the built-in loss mixes labels with lambda"
            )
        is_known_B = batch.labels_B >= 0
        if not is_known_B.any():
            return logits_BC.sum() * 0.0
        return self.criterion(logits_BC[is_known_B], batch.labels_B[is_known_B])


def _weights(task: float | None, distill: float | None) -> tuple[float, float]:
    """Return (task, distill) as timm's tasks fill them in."""
    if distill is None and task is not None:
        return task, 1.0 - task
    return 1.0 if task is None else task, 1.0 if distill is None else distill
