"""The scaler counts what it skips, and does nothing where it is not needed."""

import torch
from torch import nn

from kdcache.train.precision import LossScaler

CPU = torch.device("cpu")


def _step(scaler: LossScaler, weight: nn.Parameter, optimizer: torch.optim.Optimizer, slope: float) -> bool:
    scaler.backward((weight * slope).sum())
    is_taken = scaler.step(optimizer)
    optimizer.zero_grad(set_to_none=True)
    return is_taken


def _made(*, enabled: bool = True) -> tuple[LossScaler, nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.ones(2))
    return LossScaler(CPU, enabled=enabled), weight, torch.optim.SGD([weight], lr=0.5)


def test_a_gradient_that_is_not_finite_skips_the_step_and_halves_the_scale() -> None:
    scaler, weight, optimizer = _made()
    assert _step(scaler, weight, optimizer, 1.0)
    assert weight.tolist() == [0.5, 0.5]
    assert not _step(scaler, weight, optimizer, float("inf"))
    assert weight.tolist() == [0.5, 0.5]
    assert scaler.facts == {"loss_scale": 2.0**15, "steps_skipped": 1}


def test_gradients_are_unscaled_before_they_are_clipped() -> None:
    scaler, weight, optimizer = _made()
    scaler.backward(weight.sum())
    scaler.unscale(optimizer)
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0]
    assert scaler.step(optimizer)


def test_a_restored_scaler_goes_on_with_its_scale_and_count() -> None:
    scaler, weight, optimizer = _made()
    _step(scaler, weight, optimizer, float("inf"))
    again = LossScaler(CPU, enabled=True)
    again.restore(scaler.state())
    assert again.facts == scaler.facts
    assert _step(again, weight, optimizer, 1.0)
    assert again.steps_skipped == 1


def test_without_float16_it_says_and_does_nothing() -> None:
    scaler, weight, optimizer = _made(enabled=False)
    assert _step(scaler, weight, optimizer, 1.0)
    assert scaler.facts == {}
    again = LossScaler(CPU, enabled=False)
    again.restore(scaler.state())
    assert again.facts == {}
