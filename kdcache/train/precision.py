"""Backward passes and updates: with float16 the loss is scaled, so that small gradients are not lost."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["LossScaler"]


class LossScaler:
    """torch's ``GradScaler``, which also counts; where it is not enabled, it changes nothing and knows no facts.

    A step whose gradients are not finite at the present scale is skipped and the scale halved: the first
    steps of a run find the scale that way, so it is not an error.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self._scaler = torch.amp.GradScaler(device.type, enabled=enabled)
        self._scale = self._scaler.get_scale()
        self.steps_skipped = 0

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled."""
        self._scaler.scale(loss).backward()

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale: whoever clips them must see their true size."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """Update the weights; return False where the step was skipped."""
        self._scaler.step(optimizer)
        self._scaler.update()
        before, self._scale = self._scale, self._scaler.get_scale()
        is_skipped = self._scale < before
        self.steps_skipped += is_skipped
        return not is_skipped

    @property
    def facts(self) -> dict[str, float]:
        """What a log line says of it."""
        if not self._scaler.is_enabled():
            return {}
        return {"loss_scale": self._scale, "steps_skipped": self.steps_skipped}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"scaler": self._scaler.state_dict(), "steps_skipped": self.steps_skipped}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to an earlier ``state``."""
        self._scaler.load_state_dict(state["scaler"])
        self._scale = self._scaler.get_scale()
        self.steps_skipped = state["steps_skipped"]
