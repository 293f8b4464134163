"""Evaluation on validation shards: accuracy, loss, calibration, and agreement with a cached teacher."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdcache.data.batch import DistillBatch
from kdcache.losses.distill import kl
from kdcache.losses.task import label_loss
from kdcache.runtime.dist import World, all_sum
from kdcache.train.metrics import Calibration, Tally, num_correct
from kdcache.train.per_class import ClassCounts

__all__ = ["EvalReport", "evaluate"]

_NAMES = ("top1", "top5", "loss", "agreement", "teacher_kl", "teacher_top1")


@dataclass(frozen=True, slots=True)
class EvalReport:
    """Means over the validation samples; None where nothing was there to count.

    Attributes:
        samples: how many samples were seen.
        labelled: how many of them have a label; ``top1``, ``top5`` and ``loss`` (cross-entropy) are theirs.
        ece: expected calibration error of the labelled samples, in 15 bins.
        agreement: share of views on which student and cached teacher name the same class.
        teacher_kl: KL(teacher || student) at T = 1.
        teacher_top1: the cached teacher's own accuracy on the same views.
    """

    samples: int
    labelled: int
    top1: float | None
    top5: float | None
    loss: float | None
    ece: float | None = None
    agreement: float | None = None
    teacher_kl: float | None = None
    teacher_top1: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return the fields by name, rounded for a log."""
        values = asdict(self)
        return {
            name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()
        }

    def to_text(self) -> str:
        """Return the figures in one line, for people."""
        parts = []
        if self.top1 is not None and self.top5 is not None and self.loss is not None:
            parts.append(f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}, loss {self.loss:.3f}")
            parts.extend([] if self.ece is None else [f"ECE {self.ece:.3f}"])
            parts.append(f"of {self.labelled:,} labelled samples")
        if self.agreement is not None:
            parts.append(f"agreement with the teacher {self.agreement:.2%}")
        return ", ".join(parts) or "nothing to compare with"


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[DistillBatch],
    *,
    preprocess: nn.Module,
    device: torch.device,
    world: World,
    each: Callable[[], None],
    per_class: ClassCounts | None = None,
) -> EvalReport:
    """Evaluate ``model`` over ``batches``, this process's share; the report is that of all processes.

    ``each`` is called after every batch; it may raise to stop the evaluation. ``per_class`` is filled with the
    counts of all processes.
    """
    was_training = model.training
    model.eval()
    tally, calibration, samples = Tally(_NAMES, device), Calibration(device), 0
    try:
        for cpu_batch in batches:
            batch = cpu_batch.to(device, non_blocking=True)
            logits_BC = model(preprocess(batch.images_B3HW)).float()
            _count_labels(tally, logits_BC, batch.labels_B)
            calibration.add(logits_BC, batch.labels_B)
            if per_class is not None:
                per_class.add(logits_BC, batch.labels_B)
            if batch.teachers:
                _count_teacher(tally, logits_BC, batch)
            samples += len(batch.keys)
            each()
    finally:
        model.train(was_training)
    counts = [tally.sums_N2, calibration.sums_M3, *([] if per_class is None else [per_class.sums_C3])]
    for sums in counts:
        sums.copy_(all_sum(sums, world))
    total = int(all_sum(torch.tensor(samples, device=device), world))
    return EvalReport(samples=total, labelled=tally.count("top1"), ece=calibration.ece(), **tally.means())


def _count_labels(tally: Tally, logits_BC: Tensor, labels_B: Tensor) -> None:
    count = (labels_B >= 0).sum()
    tally.add("top1", num_correct(logits_BC, labels_B, 1), count)
    tally.add("top5", num_correct(logits_BC, labels_B, 5), count)
    tally.add("loss", label_loss(logits_BC, labels_B) * count, count)


def _count_teacher(tally: Tally, logits_BC: Tensor, batch: DistillBatch) -> None:
    teacher = batch.teacher
    count, both = teacher.valid_B.sum(), teacher.valid_B & (batch.labels_B >= 0)
    tally.add("agreement", num_correct(logits_BC, teacher.top_class_B, 1), count)
    tally.add("teacher_kl", kl(logits_BC, teacher) * count, count)
    tally.add("teacher_top1", ((teacher.top_class_B == batch.labels_B) & both).sum(), both.sum())
