"""Settings of a run are checked at the border, and each refusal says the way out."""

from typing import Any

import pytest
import yaml

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError

NEEDED: dict[str, Any] = {
    "shards": ["a.tar"],
    "cache": "c.zarr",
    "student": "vit_tiny_patch16_224",
    "out": "run",
}


def _parse(**fields: Any) -> TrainConfig:
    return TrainConfig.parse(NEEDED | fields, where="flags")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"task_loss_weight": 0, "distill_loss_weight": 0},
            "both 0: there is nothing to learn from.*labels only",
        ),
        ({"epochs": 3, "steps": 100}, "epochs=3 and steps=100 are both given; give one"),
        ({"warmup_epochs": 1, "warmup_steps": 5}, "warmup_epochs and warmup_steps are both given"),
        ({"distill_loss": "hard", "temperature": 2}, "temperature 2 has no meaning for distill_loss 'hard'"),
        ({"val_cache": "v.zarr"}, "val_cache is given without val"),
        (
            {"val": ["v.tar"], "val_cache": "v.zarr", "val_policy": {"size": 28}},
            "own policy is used; leave one out",
        ),
        ({"sched": "plateau"}, "sched 'plateau' looks at evaluations: say which shards"),
        ({"checkpoint_hist": 2}, "checkpoint_hist looks at evaluations: say which shards"),
        ({"checkpoint_hist": 2, "val": ["v.tar"], "eval_metric": "agreement"}, "agreement, .*its val_cache"),
        ({"sched": "plateau", "val": ["v.tar"], "val_interval": 0}, "needs evaluations on the way"),
        ({"sched": "plateau", "val": ["v.tar"], "decay_rate": 1}, "decay_rate 1 would not lower the rate"),
        ({"temprature": 2}, "unknown field 'temprature'; did you mean 'temperature'"),
        ({"temperature": 0}, "temperature: .*greater than 0"),
        ({"tail": "bukket"}, "tail: .*'bucket', 'uniform' or 'drop'"),
        ({"shards": []}, "shards: .*at least 1"),
        ({"val_policy": {"size": 0}}, r"val_policy\.size"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parse(**fields)


def test_settings_survive_yaml() -> None:
    config = _parse(
        val=["v.tar"], val_policy={"size": 28, "crop": "center", "flip": 0}, student_kwargs={"depth": 2}
    )
    assert TrainConfig.parse(yaml.safe_load(config.to_yaml()), where="args.yaml") == config
