"""A run's folder belongs to one run."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.folder import binding_of, claim_folder, save_weights


def _config(**fields: object) -> TrainConfig:
    return TrainConfig.parse(
        {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o"} | fields, where="test"
    )


def _claim(folder: Path, *, resume: bool) -> bool:
    return claim_folder(folder, Checkpoints(folder, {}), resume=resume)


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    assert not _claim(tmp_path / "a" / "b", resume=False)
    assert not _claim(tmp_path / "a" / "b", resume=True)


def test_a_folder_in_use_is_refused_without_resume(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(ConfigError, match=r"is not empty \(it holds log.jsonl\); add --resume"):
        _claim(tmp_path, resume=False)
    assert not _claim(tmp_path, resume=True)


def test_resume_finds_the_checkpoint(tmp_path: Path) -> None:
    Checkpoints(tmp_path, {}).save({}, step=1)
    assert _claim(tmp_path, resume=True)


def test_a_file_in_the_way_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match=r"run cannot be used: File exists"):
        _claim(tmp_path / "run", resume=False)


def test_what_is_learned_is_bound_and_where_things_are_is_free() -> None:
    first = binding_of(_config(), world=1)
    assert binding_of(_config(workers=0, cache="elsewhere", log_interval=7), world=1) == first
    for change in (
        {"lr": 0.1},
        {"seed": 1},
        {"batch_size": 7},
        {"steps": 5},
        {"student_kwargs": {"depth": 1}},
    ):
        assert binding_of(_config(**change), world=1) != first
    assert binding_of(_config(), world=2) != first


def test_what_figures_depend_on_is_bound_where_they_decide_the_learning_rate() -> None:
    plateau = {"sched": "plateau", "val": ["old/v.tar"]}
    free = {"tensorboard": True, "log_wandb": True, "checkpoint_hist": 3, "grad_checkpointing": True}
    assert binding_of(_config(**plateau, **free)) == binding_of(_config(**plateau))
    assert binding_of(_config(sched="plateau", val=["new/v.tar"])) == binding_of(_config(**plateau))
    for change in ({"eval_metric": "loss"}, {"val_interval": 2}, {"val": ["w.tar"]}, {"val_batch_size": 3}):
        assert binding_of(_config(**(plateau | change))) != binding_of(_config(**plateau)), change
        assert binding_of(_config(**({"val": ["v.tar"]} | change))) == binding_of(_config()), change


def test_what_the_arithmetic_depends_on_is_bound() -> None:
    for change in ({"model_ema": True}, {"compile": True}, {"amp_dtype": "float16"}, {"sync_bn": True}):
        assert binding_of(_config(**change)) != binding_of(_config()), change


def test_timm_loads_the_weights(tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {
        "num_classes": 5,
        "img_size": 28,
        "patch_size": 7,
        "embed_dim": 32,
        "depth": 1,
        "num_heads": 2,
    }
    model = timm.create_model("deit_tiny_distilled_patch16_224", **kwargs)
    path = save_weights(tmp_path, model)
    loaded = timm.create_model("deit_tiny_distilled_patch16_224", checkpoint_path=str(path), **kwargs)
    images = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(loaded.eval()(images), model.eval()(images), rtol=0, atol=0)
