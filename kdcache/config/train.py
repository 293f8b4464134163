"""Settings of a training run. They carry timm's names where timm has one."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kdcache.config.train_data import TrainData
from kdcache.config.train_losses import TrainLosses
from kdcache.config.train_optim import TrainOptim
from kdcache.config.train_student import TrainStudent

__all__ = ["TrainConfig"]

Count = Annotated[int, Field(ge=1)]


class TrainConfig(TrainOptim, TrainLosses, TrainStudent, TrainData):
    """What to train, on which views and targets, and how; docs/training.md explains every field.

    Attributes:
        out: folder of the run: args.yaml, log.jsonl, summary.csv, checkpoints, model.safetensors.
        seed: the run seed: order of the samples, initial weights, dropout.
        threads: CPU threads of the student, on a CPU; default the cores that the loader workers leave.
        checkpoint_interval: steps between checkpoints; default an epoch.
        checkpoint_hist: so many of the best evaluated states are kept beside the last one.
        eval_metric: what is best.
        val_interval: epochs between evaluations; 0 evaluates at the end only.
        tensorboard: also write what the log holds as TensorBoard events.
        log_wandb: also send it to Weights & Biases.
    """

    out: str
    device: str = "auto"
    seed: int = Field(default=42, ge=0, lt=1 << 63)
    threads: Count | None = None

    checkpoint_interval: Count | None = None
    checkpoint_hist: int = Field(default=0, ge=0)
    eval_metric: Literal["top1", "top5", "loss", "agreement", "teacher_kl"] = "top1"
    val_interval: int = Field(default=1, ge=0)
    log_interval: Count = 50
    tensorboard: bool = False
    log_wandb: bool = False
    quiet: bool = False

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        if self.val_cache is not None and not self.val:
            raise ValueError("val_cache is given without val: say which shards to validate on")
        if self.val_cache is not None and self.val_policy is not None:
            raise ValueError("val_policy is given with val_cache, whose own policy is used; leave one out")
        return self

    @model_validator(mode="after")
    def _check_what_evaluations_decide(self) -> Self:
        if self.sched != "plateau" and not self.checkpoint_hist:
            return self
        what = "sched 'plateau'" if self.sched == "plateau" else "checkpoint_hist"
        if not self.val:
            raise ValueError(f"{what} looks at evaluations: say which shards to validate on with val")
        if self.eval_metric in {"agreement", "teacher_kl"} and self.val_cache is None:
            raise ValueError(
                f"{what} looks at {self.eval_metric}, which compares with a cached teacher: give its val_cache"
            )
        if self.sched == "plateau" and not self.val_interval:
            raise ValueError("sched 'plateau' needs evaluations on the way: give val_interval at least 1")
        if self.sched == "plateau" and self.decay_rate >= 1:
            raise ValueError(f"sched 'plateau' with decay_rate {self.decay_rate:g} would not lower the rate")
        return self

    @model_validator(mode="after")
    def _check_teachers(self) -> Self:
        if self.teacher_weights and len(self.teacher_weights) != len(self.teacher):
            raise ValueError(
                f"{len(self.teacher_weights)} teacher_weights for {len(self.teacher)} teachers: give one for each, "
                "in the same order"
            )
        return self
