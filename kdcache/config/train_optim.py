"""Settings of a training run: its length, optimiser, schedule and arithmetic."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kdcache.config.base import Settings

__all__ = ["TrainOptim"]

Count = Annotated[int, Field(ge=1)]


class TrainOptim(Settings):
    """How long and how steps are taken.

    Attributes:
        steps: optimiser steps of the run, instead of ``epochs``; default 300 epochs.
        warmup_epochs: or ``warmup_steps``; default 5 % of the run.
        batch_size: views of one micro-batch of one process; a step takes ``grad_accum_steps`` of them.
        patience_epochs: evaluations without progress before ``plateau`` lowers the rate.
        amp_dtype: float16 scales the loss, so that small gradients are not lost.
        model_ema: keep a running mean of the weights, and evaluate it as well.
        compile: run the student through ``torch.compile``.
    """

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
    sched: Literal["cosine", "tanh", "poly", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0.0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    warmup_lr: float = Field(default=1e-6, ge=0.0)
    min_lr: float = Field(default=0.0, ge=0.0)
    decay_epochs: float = Field(default=90.0, gt=0.0)
    decay_rate: float = Field(default=0.1, gt=0.0)
    patience_epochs: int = Field(default=10, ge=0)

    amp: bool = False
    amp_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    model_ema: bool = False
    model_ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9998
    model_ema_warmup: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs={self.epochs} and steps={self.steps} are both given; give one of them")
        if self.warmup_epochs is not None and self.warmup_steps is not None:
            raise ValueError("warmup_epochs and warmup_steps are both given; give one of them")
        return self
