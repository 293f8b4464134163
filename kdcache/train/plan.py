"""How long a run is: a pure function of its settings and of the loader's numbers."""

import math
from dataclasses import dataclass

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError

__all__ = ["MANY_EPOCHS_PER_VIEW", "Position", "RunPlan", "plan_run"]

MANY_EPOCHS_PER_VIEW = 10.0
"""Above this many epochs for each cached view, students begin to learn the views by heart."""

_DEFAULT_EPOCHS = 300
_DEFAULT_WARMUP = 0.05


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: ``micro_batch`` of ``epoch`` comes next, after ``step`` optimiser steps."""

    epoch: int = 0
    micro_batch: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The length of a run.

    Attributes:
        steps: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps of one pass.
        batches_per_epoch: micro-batches of one pass, of one process.
        accumulate: micro-batches of a step; the last step of an epoch may have fewer.
        views_per_step: views of a full step, of all processes.
        num_samples: samples of the training shards.
        num_views: cached views of each sample.
        views_per_decode: views of a sample that come together in a pass.
        lanes: shuffle windows that are open at a time.
        target_reads: reads of cached targets in one pass, of all processes: one a block, seed and teacher.
    """

    steps: int
    steps_per_epoch: int
    batches_per_epoch: int
    accumulate: int
    warmup_steps: int
    views_per_step: int
    num_samples: int
    num_views: int
    views_per_decode: int = 1
    lanes: int = 1
    target_reads: int = 0

    @property
    def epochs(self) -> float:
        """Passes over the training shards."""
        return self.steps / self.steps_per_epoch

    @property
    def epochs_per_view(self) -> float:
        """How often a student meets each cached view."""
        return self.epochs * self.views_per_decode / self.num_views

    @property
    def advice(self) -> str | None:
        """A warning where the views are too few for a run of this length."""
        if self.epochs_per_view <= MANY_EPOCHS_PER_VIEW:
            return None
        return (
            f"{self.epochs:,.1f} epochs over {self.num_views} cached views are {self.epochs_per_view:,.1f} "
            f"epochs a view, above {MANY_EPOCHS_PER_VIEW:g}: cache more views (kdcache precompute --views)"
        )

    def describe(self) -> str:
        """Return the plan in a few lines, for people."""
        return "\n".join(
            (
                f"samples          {self.num_samples:,}",
                f"cached views     {self.num_views:,} of each sample",
                f"steps            {self.steps:,} ({self.steps_per_epoch:,} an epoch)",
                f"warm-up          {self.warmup_steps:,} steps",
                f"views a step     {self.views_per_step:,}",
                f"target reads     {self.target_reads / self.steps_per_epoch:,.2f} a step",
                f"lanes            {self.lanes:,} shuffle windows open at a time",
                f"epochs           {self.epochs:,.2f}",
                f"epochs per view  {self.epochs_per_view:,.2f}",
            )
        )


def plan_run(
    config: TrainConfig,
    *,
    num_samples: int,
    num_batches: int,
    num_views: int,
    world: int = 1,
    lanes: int = 1,
    target_reads: int = 0,
) -> RunPlan:
    """Return the length of a run whose every process takes ``num_batches`` micro-batches in an epoch.

    Args:
        config: the settings.
        num_samples: samples of the training shards.
        num_batches: micro-batches of one pass, of one process.
        num_views: cached views of each sample.
        world: how many processes there are.
        lanes: shuffle windows that are open at a time.
        target_reads: blocks that a pass reads, times teachers, for one seed.

    Raises:
        ConfigError: an epoch has no full micro-batch for every process.
    """
    if num_batches < 1:
        raise ConfigError(
            f"{num_samples:,} samples do not fill one micro-batch of {config.batch_size} for each of {world} "
            "processes; choose a smaller --batch-size"
        )
    steps_per_epoch = math.ceil(num_batches / config.grad_accum_steps)
    steps = config.steps or (config.epochs or _DEFAULT_EPOCHS) * steps_per_epoch
    return RunPlan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batches_per_epoch=num_batches,
        accumulate=config.grad_accum_steps,
        warmup_steps=_warmup_steps(config, steps, steps_per_epoch),
        views_per_step=config.batch_size * config.grad_accum_steps * world,
        num_samples=num_samples,
        num_views=num_views,
        views_per_decode=config.views_per_decode,
        lanes=lanes,
        target_reads=target_reads * config.views_per_decode,
    )


def _warmup_steps(config: TrainConfig, steps: int, steps_per_epoch: int) -> int:
    if config.warmup_steps is not None:
        return min(config.warmup_steps, steps)
    if config.warmup_epochs is not None:
        return min(round(config.warmup_epochs * steps_per_epoch), steps)
    return round(_DEFAULT_WARMUP * steps)
