"""The mean of the weights follows timm's formula, and is there only where it is asked for."""

from typing import Any

import pytest
import torch
from torch import nn

from kdcache.config.train import TrainConfig
from kdcache.train.ema import build_ema


def _config(**fields: Any) -> TrainConfig:
    needed = {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o"}
    return TrainConfig.parse(needed | fields, where="test")


def _means(config: TrainConfig, values: list[float]) -> list[float]:
    model = nn.Linear(1, 1, bias=False)
    ema = build_ema(config, model)
    assert ema is not None
    means = []
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(model, step=step)
        means.append(next(ema.module.parameters()).item())
    return means


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert build_ema(_config(), nn.Linear(1, 1)) is None


def test_the_mean_begins_with_the_first_step_and_moves_by_the_decay() -> None:
    assert _means(_config(model_ema=True, model_ema_decay=0.5), [4.0, 8.0, 0.0]) == [4.0, 6.0, 3.0]


def test_a_warm_up_moves_it_faster_at_first() -> None:
    settings = {"model_ema": True, "model_ema_decay": 0.9}
    warm = _means(_config(**settings, model_ema_warmup=True), [4.0, 8.0])
    assert warm[1] == pytest.approx(4.0 + 4.0 * 2 ** (-2 / 3))
    assert _means(_config(**settings), [4.0, 8.0])[1] == pytest.approx(4.4)
