"""Settings of a training run: its losses."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kdcache.config.base import Settings

__all__ = ["WITHOUT_TEMPERATURE", "DistillLossName", "Tail", "TrainLosses"]

DistillLossName = Literal["kl", "ce", "hard", "dkd", "dist", "logit-std", "bce", "reverse-kl", "jsd"]
Tail = Literal["bucket", "uniform", "drop"]
Weight = Annotated[float, Field(ge=0.0)]
Temperature = Annotated[float, Field(gt=0.0)]

WITHOUT_TEMPERATURE = frozenset({"hard", "ce"})


class TrainLosses(Settings):
    """What is minimised: task_loss_weight * labels + distill_loss_weight * teachers (+ feature_loss_weight * features).

    Attributes:
        task_loss_weight: weight of the label loss; default 0, or 0.5 with a distillation token.
        distill_loss_weight: weight of the teachers' loss; default 1, or 0.5 with a distillation token.
        distill_loss: default ``kl``, or ``hard`` with a distillation token.
        distill_loss_kwargs: numbers that the loss takes, such as alpha and beta of ``dkd``.
        temperature: of the losses that soften.
        tail: what stands for the classes that were cut; default ``bucket``, or ``uniform`` for ``dkd``.
        loss_sched: how weights and temperature move from their values to those called ``_end``, over the run.
        feature_loss_weight: weight of the distance to the teacher's cached features.
    """

    task_loss_weight: Weight | None = None
    task_loss_weight_end: Weight | None = None
    distill_loss_weight: Weight | None = None
    distill_loss_weight_end: Weight | None = None
    distill_loss: DistillLossName | None = None
    distill_loss_kwargs: dict[str, float] = Field(default_factory=dict)
    temperature: Temperature = 1.0
    temperature_end: Temperature | None = None
    loss_sched: Literal["linear", "cosine"] = "linear"
    tail: Tail | None = None
    force_temperature: bool = False
    smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    feature_loss_weight: Weight = 0.0
    feature_loss: Literal["cosine", "mse"] = "cosine"

    @model_validator(mode="after")
    def _check_losses(self) -> Self:
        if self.task_loss_weight == 0 and self.distill_loss_weight == 0 and not self.feature_loss_weight:
            raise ValueError(
                "task_loss_weight and distill_loss_weight are both 0: there is nothing to learn from; "
                "give one of them a weight (labels only: --task-loss-weight 1 --distill-loss-weight 0)"
            )
        has_temperature = self.temperature != 1.0 or self.temperature_end not in {None, 1.0}
        if self.distill_loss in WITHOUT_TEMPERATURE and has_temperature:
            raise ValueError(
                f"temperature {self.temperature:g} has no meaning for distill_loss {self.distill_loss!r}; "
                "leave temperature out or choose 'kl'"
            )
        return self
