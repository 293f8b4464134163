"""The rate warms up over steps, and falls after evaluations without progress."""

from typing import Any

import pytest
import torch

from kdcache.train.plateau import Plateau


def _plateau(*, groups: int = 1, **changes: Any) -> Plateau:
    scales = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": 0.5**i} for i in range(groups)]
    optimizer = torch.optim.SGD(scales, lr=1.0)
    settings = {"warmup_steps": 0, "warmup_lr": 0.0, "patience": 1, "decay_rate": 0.5, "min_lr": 0.0}
    return Plateau(optimizer, **({"lower_is_better": False} | settings | changes))


def _rates(plateau: Plateau) -> list[float]:
    return [group["lr"] for group in plateau.optimizer.param_groups]


def _after(plateau: Plateau, figures: list[float], *, first_step: int = 1) -> list[float]:
    rates = []
    for step, figure in enumerate(figures, start=first_step):
        plateau.step_update(step)
        plateau.evaluated(step, figure)
        rates += _rates(plateau)
    return rates


def test_the_rate_falls_once_patience_is_over() -> None:
    assert _after(_plateau(), [0.1, 0.1, 0.1, 0.1, 0.1]) == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_progress_is_a_rise_or_a_fall() -> None:
    rising = [0.1, 0.2, 0.3, 0.4]
    assert _after(_plateau(), rising)[-1] == 1.0
    assert _after(_plateau(lower_is_better=True), rising)[-1] == 0.5


def test_a_warm_up_rises_over_steps_and_counts_no_evaluation() -> None:
    plateau = _plateau(warmup_steps=4, warmup_lr=0.2, patience=0)
    assert _rates(plateau) == [0.2]
    assert _after(plateau, [0.5, 0.4, 0.3, 0.2, 0.2, 0.1]) == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0, 0.5])


def test_layers_keep_their_share_of_the_rate() -> None:
    plateau = _plateau(groups=3, patience=0, warmup_steps=1)
    assert _after(plateau, [0.1, 0.1, 0.1])[-3:] == [0.5, 0.25, 0.125]


def test_the_rate_stays_above_its_floor() -> None:
    assert _after(_plateau(patience=0, min_lr=0.3), [0.1] * 9)[-1] == 0.3


def test_a_restored_state_remembers_evaluations_without_progress() -> None:
    first, again = _plateau(), _plateau()
    _after(first, [0.1, 0.1])
    again.load_state_dict(first.state_dict())
    assert _after(again, [0.1], first_step=3) == [0.5]
