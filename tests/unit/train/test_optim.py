"""Optimiser and schedule are timm's, over the steps of the run."""

from typing import Any

import pytest
import torch

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.students import build_student
from kdcache.train.optim import build_optimizer, build_scheduler
from kdcache.train.plan import plan_run

MODEL = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))


def _config(**fields: Any) -> TrainConfig:
    needed = {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o", "lr": 0.1, "warmup_lr": 0.0}
    return TrainConfig.parse(needed | fields, where="test")


def _rates(config: TrainConfig) -> list[float]:
    optimizer = build_optimizer(config, MODEL)
    plan = plan_run(config, num_samples=10, num_batches=10, num_views=1)
    scheduler = build_scheduler(config, optimizer, plan)
    rates = []
    for step in range(1, plan.steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(step)
    return rates


def test_cosine_rises_through_the_warmup_and_falls_to_nothing() -> None:
    rates = _rates(_config(steps=20, warmup_steps=4))
    assert rates[:5] == pytest.approx([0.0, 0.025, 0.05, 0.075, rates[4]])
    assert max(rates) == rates[4] == pytest.approx(0.0905, abs=1e-3)
    assert rates[-1] < 0.001


def test_constant_stays() -> None:
    assert _rates(_config(steps=5, sched="constant", warmup_steps=0)) == [0.1] * 5


def test_a_run_of_one_step_has_a_rate() -> None:
    assert _rates(_config(steps=1, warmup_steps=0)) == [0.1]


@pytest.mark.parametrize("sched", ["cosine", "tanh", "poly", "step", "constant"])
def test_every_schedule_can_be_followed(sched: str) -> None:
    assert all(0 <= rate <= 0.1 for rate in _rates(_config(steps=30, sched=sched)))


def test_earlier_layers_take_smaller_steps_under_layer_decay() -> None:
    student = build_student(
        "vit_tiny_patch16_224",
        num_classes=3,
        seed=0,
        kwargs={"img_size": 24, "patch_size": 12, "embed_dim": 32, "depth": 2, "num_heads": 2},
    )
    config = _config(layer_decay=0.5, sched="constant", warmup_steps=0, steps=4)
    optimizer = build_optimizer(config, student.model)
    plan = plan_run(config, num_samples=10, num_batches=10, num_views=1)
    build_scheduler(config, optimizer, plan)
    rates = {group["lr"] for group in optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.1 * 0.5**3, 0.1 * 0.5**2, 0.1 * 0.5, 0.1])


def test_biases_and_norms_are_free_of_weight_decay() -> None:
    groups = build_optimizer(_config(weight_decay=0.3), MODEL).param_groups
    assert sorted((group["weight_decay"], len(group["params"])) for group in groups) == [(0.0, 3), (0.3, 1)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"opt": "adamww"}, "opt 'adamww' with no extra arguments: .*not found.*list_optimizers"),
        ({"opt_kwargs": {"betass": 1}}, "opt 'adamw' with .*betass.*unexpected keyword"),
    ],
)
def test_what_timm_refuses_is_a_config_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizer(_config(**fields), MODEL)
