"""A run under way: what it is made of, and where it stands."""

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Any, Self

import torch
from torch import nn

from kdcache.config.train import TrainConfig
from kdcache.data.loader import DistillLoader
from kdcache.models.preprocess import Preprocess
from kdcache.runtime.dist import World, all_sum
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress
from kdcache.train.ema import ModelEmaV3
from kdcache.train.feature_learner import FeatureLearner
from kdcache.train.journal import Journal
from kdcache.train.metrics import Tally
from kdcache.train.objective import Objective
from kdcache.train.optim import Optimizer, Scheduler
from kdcache.train.plan import Position, RunPlan
from kdcache.train.precision import LossScaler

__all__ = ["TALLY_NAMES", "Session", "Totals", "bare", "unwrapped"]

TALLY_NAMES = ("loss", "task_loss", "distill_loss", "feature_loss", "agreement")


@dataclass(slots=True)
class Totals:
    """Counts over the whole run."""

    views: int = 0
    views_checked: int = 0
    rows_without_targets: int = 0
    views_drifted: int = 0

    def of_all(self, world: World, device: torch.device) -> Self:
        """Return the sums over all processes; every one of them must call it."""
        counts = torch.tensor(astuple(self), device=device)
        return type(self)(*all_sum(counts, world).tolist())


@dataclass(slots=True)
class Session:
    """The parts of a run and its place in it.

    Attributes:
        model: the student, or a ``FeatureLearner`` around it, inside DDP where there are several processes.
        forward: what training calls: ``model``, or a compiled one that shares its weights.
        ema: the running mean of the student's weights, if there is one.
        tally: means since the last log line, of this process.
        position: what was done so far.
        totals: what was counted so far by this process.
    """

    config: TrainConfig
    plan: RunPlan
    objective: Objective
    loader: DistillLoader
    model: nn.Module
    forward: Callable[..., Any]
    ema: ModelEmaV3 | None
    preprocess: Preprocess
    optimizer: Optimizer
    scheduler: Scheduler
    scaler: LossScaler
    device: torch.device
    world: World
    journal: Journal
    progress: Progress
    interrupts: Interrupts
    tally: Tally
    position: Position = field(default_factory=Position)
    totals: Totals = field(default_factory=Totals)
    last_log: float = field(default_factory=time.monotonic)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return what is trained where DDP wraps it."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def bare(model: nn.Module) -> nn.Module:
    """Return the student alone."""
    model = unwrapped(model)
    return model.network if isinstance(model, FeatureLearner) else model
