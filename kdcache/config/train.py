"""Settings of a training run. They carry timm's names where timm has one."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kdcache.config.base import Settings
from kdcache.config.views import ViewPolicy

__all__ = ["TrainConfig"]

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0.0)]
Rgb = tuple[float, float, float]


class TrainConfig(Settings):
    """What to train, on which views and targets, and how; docs/training.md explains every field.

    Attributes:
        shards: training shards (WebDataset URLs, braces allowed), all of them known to the cache.
        cache: the cache whose views and targets are used; with labels only its views alone.
        teacher: which teacher of the cache; may be left out when it has one.
        student: a timm model name; ``student_kwargs`` go to ``timm.create_model``.
        out: folder of the run: args.yaml, log.jsonl, summary.csv, checkpoint, model.safetensors.
        val: validation shards; ``val_cache`` adds agreement with its teacher, under its policy.
        val_policy: views of the validation shards; default ``center`` at the student's size.
        num_classes: classes of the student; default the cache's.
        mean: normalisation of the student's input; default from timm's config of the model.
        task_loss_weight: weight of the label loss; default 0, or 0.5 with a distillation token.
        distill_loss_weight: weight of the teacher's loss; default 1, or 0.5 with a distillation token.
        distill_loss: default ``kl``, or ``hard`` with a distillation token.
        steps: optimiser steps of the run, instead of ``epochs``; default 300 epochs.
        warmup_epochs: or ``warmup_steps``; default 5 % of the run.
        batch_size: views of one micro-batch of one process; a step takes ``grad_accum_steps`` of them.
        seed: the run seed: order of the samples, initial weights, dropout.
        threads: CPU threads of the student, on a CPU; default the cores that the loader workers leave.
        check_views: one view in this many is checked by digest, after each worker's whole first batch.
        allow_decoder_drift: count views that differ by a decoder's rounding instead of stopping at the first.
        checkpoint_interval: steps between checkpoints; default an epoch.
        val_interval: epochs between evaluations; 0 evaluates at the end only.
    """

    shards: tuple[str, ...] = Field(min_length=1)
    cache: str
    teacher: str | None = None
    student: str
    out: str
    val: tuple[str, ...] = ()
    val_cache: str | None = None
    val_policy: ViewPolicy | None = None
    val_batch_size: Count | None = None

    num_classes: Annotated[int, Field(ge=2)] | None = None
    student_kwargs: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    initial_checkpoint: str | None = None
    drop: float = Field(default=0.0, ge=0.0, lt=1.0)
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    mean: Rgb | None = None
    std: Rgb | None = None

    task_loss_weight: Weight | None = None
    distill_loss_weight: Weight | None = None
    distill_loss: Literal["kl", "hard"] | None = None
    temperature: float = Field(default=1.0, gt=0.0)
    tail: Literal["bucket", "uniform", "drop"] = "bucket"
    force_temperature: bool = False
    smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)

    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 128
    grad_accum_steps: Count = 1
    opt: str = "adamw"
    lr: float = Field(default=5e-4, gt=0.0)
    weight_decay: float = Field(default=0.05, ge=0.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    opt_kwargs: dict[str, Any] = Field(default_factory=dict)
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    clip_grad: Annotated[float, Field(gt=0.0)] | None = None
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    sched: Literal["cosine", "tanh", "poly", "step", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0.0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_lr: float = Field(default=1e-6, ge=0.0)
    min_lr: float = Field(default=0.0, ge=0.0)
    decay_epochs: float = Field(default=90.0, gt=0.0)
    decay_rate: float = Field(default=0.1, gt=0.0)

    device: str = "auto"
    amp: bool = False
    amp_dtype: Literal["bfloat16"] = "bfloat16"
    channels_last: bool = False
    seed: int = Field(default=42, ge=0, lt=1 << 63)
    workers: int = Field(default=4, ge=0)
    threads: Count | None = None
    check_views: Count = 64
    allow_decoder_drift: bool = False

    checkpoint_interval: Count | None = None
    val_interval: int = Field(default=1, ge=0)
    log_interval: Count = 50
    quiet: bool = False

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs={self.epochs} and steps={self.steps} are both given; give one of them")
        if self.warmup_epochs is not None and self.warmup_steps is not None:
            raise ValueError("warmup_epochs and warmup_steps are both given; give one of them")
        return self

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        if self.task_loss_weight == 0 and self.distill_loss_weight == 0:
            raise ValueError(
                "task_loss_weight and distill_loss_weight are both 0: there is nothing to learn from; "
                "give one of them a weight (labels only: --task-loss-weight 1 --distill-loss-weight 0)"
            )
        if self.distill_loss == "hard" and self.temperature != 1.0:
            raise ValueError(
                f"temperature {self.temperature:g} has no meaning for distill_loss 'hard', which looks at "
                "the teacher's best class only; leave temperature out or choose 'kl'"
            )
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> Self:
        if self.val_cache is not None and not self.val:
            raise ValueError("val_cache is given without val: say which shards to validate on")
        if self.val_cache is not None and self.val_policy is not None:
            raise ValueError("val_policy is given with val_cache, whose own policy is used; leave one out")
        return self
