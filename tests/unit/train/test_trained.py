"""A run's folder gives back its student, or says what is wrong with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdcache.errors import CheckpointError, ConfigError
from kdcache.students import build_student
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.folder import save_weights
from kdcache.train.trained import open_run
from tests.support.training import TINY_VIT, small_config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run whose weights are those that seed 7 draws."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = small_config(tmp_path, ["a.tar"], tmp_path / "c.zarr", num_classes=10, teacher="cnn")
    (folder / "args.yaml").write_text(config.to_yaml())
    save_weights(folder, _model(7))
    return folder


def _model(seed: int, num_classes: int = 10) -> torch.nn.Module:
    return build_student("vit_tiny_patch16_224", num_classes=num_classes, seed=seed, kwargs=TINY_VIT).model


def _head(model: torch.nn.Module) -> list[float]:
    return model.state_dict()["head.weight"].flatten().tolist()  # type: ignore[no-any-return]


def test_the_student_has_the_trained_weights_and_is_ready_to_evaluate(run: Path) -> None:
    student = open_run(run).student()
    assert _head(student.model) == _head(_model(7))
    assert not student.model.training


def test_other_weights_are_named(run: Path) -> None:
    save_file(_model(8).state_dict(), run / "model_ema.safetensors")
    ema = open_run(run, weights="ema")
    assert (ema.weights, ema.weights_file.name) == ("ema", "model_ema.safetensors")
    assert _head(ema.student().model) == _head(_model(8))


def test_a_training_checkpoint_gives_the_weights_that_it_trains(run: Path) -> None:
    Checkpoints(run, {}).save({"model": _model(9).state_dict(), "position": [0, 1, 2]}, step=3)
    opened = open_run(run, checkpoint=run / "checkpoint-00000003.pt")
    assert opened.weights == "checkpoint-00000003.pt"
    assert _head(opened.student().model) == _head(_model(9))


def test_weights_that_are_not_there_are_refused_and_those_that_are_are_listed(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model_ema.safetensors \(it has --weights model\)"):
        open_run(run, weights="ema")
    (run / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"it has no weights at all\); finish the run .* --resume"):
        open_run(run)


def test_a_folder_without_settings_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no folder of a run: there is no args.yaml"):
        open_run(tmp_path)


def test_weights_of_other_classes_are_refused(run: Path, tmp_path: Path) -> None:
    save_file(_model(7, num_classes=4).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"head.weight is \(4, 32\), expected \(10, 32\)"):
        open_run(run, checkpoint=tmp_path / "other.safetensors").student()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"\x08\x00", "is damaged"),
        ("a.pt", b"not a checkpoint", "holds no weights that are safe to load"),
    ],
)
def test_damaged_weights_are_refused(run: Path, name: str, content: bytes, message: str) -> None:
    (run / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_run(run, checkpoint=run / name).student()


def test_a_file_without_weights_is_refused(run: Path) -> None:
    torch.save({"model": [1, 2]}, run / "a.pt")
    with pytest.raises(CheckpointError, match="expected a state dict, or a training checkpoint"):
        open_run(run, checkpoint=run / "a.pt").student()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*b\.pt"):
        open_run(run, checkpoint=run / "b.pt")


def test_the_report_tells_where_the_weights_come_from(run: Path) -> None:
    assert (open_run(run).teachers, open_run(run).provenance) == (("cnn",), {})
    (run / "report.json").write_text(json.dumps({"provenance": {"view_size": [24, 24]}}))
    assert open_run(run).provenance == {"view_size": [24, 24]}
    (run / "report.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"report\.json is damaged"):
        open_run(run)
