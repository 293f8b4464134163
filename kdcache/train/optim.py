"""Optimiser and learning-rate schedule, by timm's factories."""

from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from timm.scheduler import create_scheduler_v2  # type: ignore[attr-defined]
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.optim import Optimizer

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.train.metrics import LOWER_IS_BETTER
from kdcache.train.plan import RunPlan
from kdcache.train.plateau import Plateau

__all__ = ["Optimizer", "Scheduler", "build_optimizer", "build_scheduler"]


def build_optimizer(config: TrainConfig, model: nn.Module) -> Optimizer:
    """Return timm's optimiser; biases, norms and what the model names are free of weight decay.

    Raises:
        ConfigError: timm has no such optimiser, or it refuses its arguments.
    """
    try:
        optimizer: Optimizer = create_optimizer_v2(
            model,
            opt=config.opt,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            layer_decay=config.layer_decay,
            **config.opt_kwargs,
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(
            f"opt {config.opt!r} with {config.opt_kwargs or 'no extra arguments'}: {error}; "
            "timm.optim.list_optimizers() lists the names"
        ) from error
    return optimizer


def build_scheduler(config: TrainConfig, optimizer: Optimizer, plan: RunPlan) -> Scheduler:
    """Return timm's schedule over the optimiser steps of the whole run, warm-up included.

    Its learning rate is a function of the step alone, so a resumed run needs no state of it; only that of
    ``plateau`` follows the evaluations. A run of one step has no schedule to speak of; it gets a constant one.
    """
    if config.sched == "plateau":
        return _plateau(config, optimizer, plan)
    scheduler: Scheduler
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched=config.sched if plan.steps > 1 else "constant",
        num_epochs=plan.steps,
        warmup_epochs=plan.warmup_steps,
        warmup_lr=config.warmup_lr,
        min_lr=config.min_lr,
        decay_epochs=max(1, round(config.decay_epochs * plan.steps_per_epoch)),
        decay_rate=config.decay_rate,
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    return scheduler


def _plateau(config: TrainConfig, optimizer: Optimizer, plan: RunPlan) -> Plateau:
    return Plateau(
        optimizer,
        warmup_steps=plan.warmup_steps,
        warmup_lr=config.warmup_lr,
        patience=config.patience_epochs,
        decay_rate=config.decay_rate,
        min_lr=config.min_lr,
        lower_is_better=config.eval_metric in LOWER_IS_BETTER,
    )
