"""Mirrors get the numbers of the journal; one that is not installed is named before anything is done."""

import sys
from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.train import train
from kdcache.train.journal import Journal
from kdcache.train.mirrors import TensorBoardMirror, demand_mirrors
from tests.support.training import small_config


@pytest.mark.parametrize(
    ("flag", "module", "message"),
    [
        (
            "tensorboard",
            "torch.utils.tensorboard",
            r"--tensorboard needs tensorboard .*'kdcache\[tensorboard\]'",
        ),
        (
            "log_wandb",
            "wandb",
            r"--log-wandb needs wandb .*pip install 'kdcache\[wandb\]', or leave out --log",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    changes: dict[str, Any] = {flag: True}
    config = small_config(tmp_path, ["a.tar"], tmp_path / "cache", **changes)
    with pytest.raises(ConfigError, match=message):
        train(config)
    assert list(tmp_path.iterdir()) == []
    demand_mirrors(config.model_copy(update={flag: False}))


def test_only_numbers_of_training_and_evaluation_become_scalars(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.mirrors = (TensorBoardMirror(tmp_path / "tensorboard", journal, step=0),)
    journal.write("start", step=0, device="cpu", threads=1)
    journal.write("train", step=1, loss=2.0, task_loss=None, rows=8)
    journal.write("eval", step=1, top1=0.5)
    for mirror in journal.mirrors:
        mirror.close()
    assert _scalars(tmp_path) == {"train/loss": 2.0, "train/rows": 8.0, "eval/top1": 0.5}


def _scalars(folder: Path) -> dict[str, float]:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
