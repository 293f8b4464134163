"""One optimiser step: forward and backward over a window of micro-batches, then the update."""

import contextlib
import math
from collections.abc import Sequence

import torch
from timm.models import model_parameters
from timm.utils.clip_grad import dispatch_clip_grad
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdcache.data.batch import DistillBatch
from kdcache.errors import KdcacheError
from kdcache.runtime.device import autocast
from kdcache.students import heads_of
from kdcache.train.metrics import num_correct
from kdcache.train.objective import Losses
from kdcache.train.session import Session, bare

__all__ = ["take_step"]


def take_step(session: Session, window: Sequence[DistillBatch]) -> float:
    """Take one step and return its loss, the mean over the window.

    Raises:
        KdcacheError: a loss is not finite; nothing was updated from it.
        ShardError: a sample has no label where labels are all there is to learn from.
    """
    total = 0.0
    for index, batch in enumerate(window):
        is_last = index == len(window) - 1
        with contextlib.nullcontext() if is_last else _no_sync(session.model):
            loss, value = _forward(session, batch)
            session.scaler.backward(loss / len(window))
        total += value
    _update(session)
    return total / len(window)


def _update(session: Session) -> None:
    """Clip, update the weights and their mean; gradients that float16 could not hold are thrown away."""
    if session.config.clip_grad is not None:
        session.scaler.unscale(session.optimizer)
        mode = session.config.clip_mode
        parameters = list(model_parameters(session.model, exclude_head=mode == "agc"))
        dispatch_clip_grad(parameters, session.config.clip_grad, mode=mode)
    is_taken = session.scaler.step(session.optimizer)
    session.optimizer.zero_grad(set_to_none=True)
    if session.ema is not None and is_taken:
        session.ema.update(bare(session.model), step=session.position.step + 1)


def _no_sync(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Let DDP add up gradients on this process alone until the window's last micro-batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()


def _forward(session: Session, cpu_batch: DistillBatch) -> tuple[Tensor, float]:
    """Return the loss and its value; reading it here, before the backward pass, is the one wait of a step."""
    session.objective.check(cpu_batch)
    batch = cpu_batch.to(session.device, non_blocking=True)
    with autocast(session.device, session.config.amp_dtype if session.config.amp else "float32"):
        images_B3HW = session.preprocess(batch.images_B3HW)
        if session.config.channels_last:
            images_B3HW = images_B3HW.contiguous(memory_format=torch.channels_last)
        if session.objective.feature_loss_weight:
            features = [batch.features[name] for name in session.objective.teachers]
            output, feature = session.forward(images_B3HW, features)
        else:
            output, feature = session.forward(images_B3HW), None
    progress = session.position.step / session.plan.steps
    losses = session.objective(output, batch, feature=feature, progress=progress)
    value = losses.total.item()
    if not math.isfinite(value):
        raise KdcacheError(_not_finite(session, losses, cpu_batch))
    _count(session, output, losses, batch)
    _count_rows(session, cpu_batch)
    return losses.total, value


def _count(
    session: Session, output: Tensor | tuple[Tensor, Tensor], losses: Losses, batch: DistillBatch
) -> None:
    rows, tally = len(batch), session.tally
    tally.add("loss", losses.total.detach() * rows, rows)
    if not session.objective.task_loss_weight.is_zero:
        num_labelled = (batch.labels_B >= 0).sum()
        tally.add("task_loss", losses.task.detach() * num_labelled, num_labelled)
    if session.objective.feature_loss_weight:
        tally.add("feature_loss", losses.feature.detach() * rows, rows)
    if session.objective.needs_targets:
        num_valid = _with_targets(batch).sum()
        tally.add("distill_loss", losses.distill.detach() * num_valid, num_valid)
        logits_BC = _averaged(output)
        for name, weight in session.objective.teachers.items():
            agreed = num_correct(logits_BC, batch.teachers[name].top_class_B, 1)
            tally.add("agreement", weight * agreed, weight * num_valid)


def _count_rows(session: Session, batch: DistillBatch) -> None:
    if session.objective.needs_targets:
        session.totals.rows_without_targets += int((~_with_targets(batch)).sum())
    session.totals.views += len(batch)
    session.totals.views_checked += batch.num_checked
    session.totals.views_drifted += batch.num_drifted


def _with_targets(batch: DistillBatch) -> Tensor:
    """Return which rows have them; all teachers see the same views, so one answers for all."""
    return next(iter(batch.teachers.values())).valid_B


def _averaged(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    class_logits_BC, distill_logits_BC = heads_of(output)
    return (class_logits_BC.detach() + distill_logits_BC.detach()) / 2


def _not_finite(session: Session, losses: Losses, batch: DistillBatch) -> str:
    session.journal.write("stopped", step=session.position.step, keys=list(batch.keys))
    some = ", ".join(batch.keys[:8]) + (", ..." if len(batch.keys) > 8 else "")
    return (
        f"the loss of step {session.position.step} is {losses.total.item()} (task {losses.task.item():g}, "
        f"distill {losses.distill.item():g}, feature {losses.feature.item():g}) and nothing was updated from it. "
        f"Its batch (all of it in log.jsonl): {some}. Try a lower --lr, --clip-grad 1, or no --amp; --resume "
        "goes on from the last checkpoint"
    )
