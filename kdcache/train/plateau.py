"""A learning rate that falls where evaluations stop getting better."""

from typing import Any

from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

__all__ = ["Plateau"]


class Plateau(Scheduler):
    """Linear warm-up over steps, then torch's ``ReduceLROnPlateau`` over evaluations.

    timm's own scheduler of that name wraps the same class, but forgets in a checkpoint how many evaluations
    were without progress, counts its warm-up in epochs, and is about to be removed.

    Args:
        patience: so many evaluations in a row may be without progress.
        lower_is_better: of the figure that evaluations are judged by.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        warmup_steps: int,
        warmup_lr: float,
        patience: int,
        decay_rate: float,
        min_lr: float,
        lower_is_better: bool,
    ) -> None:
        super().__init__(optimizer, "lr", t_in_epochs=False)
        self._warmup_steps = warmup_steps
        self._warmup_lr = warmup_lr
        self._plateau = ReduceLROnPlateau(
            optimizer,
            mode="min" if lower_is_better else "max",
            factor=decay_rate,
            patience=patience,
            min_lr=min_lr,
        )
        self.step_update(0)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """Set the rate of a warm-up; afterwards steps change nothing."""
        del metric
        if num_updates <= self._warmup_steps:
            self.update_groups(self._get_lr(num_updates))

    def evaluated(self, step: int, metric: float) -> None:
        """Take note of an evaluation after ``step``; those of a warm-up are not counted."""
        if step > self._warmup_steps:
            self._plateau.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides the optimiser's own rates."""
        return self._plateau.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go back to an earlier state."""
        self._plateau.load_state_dict(state_dict)

    def _get_lr(self, t: int) -> list[float]:
        share = t / self._warmup_steps if self._warmup_steps else 1.0
        return [self._warmup_lr + share * (base - self._warmup_lr) for base in self.base_values]
