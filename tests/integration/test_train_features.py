"""A student that is also drawn towards a teacher's cached features."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdcache.errors import ConfigError
from kdcache.precompute import precompute
from kdcache.train import train
from tests.support.precompute_runs import config_for
from tests.support.shards import write_shards
from tests.support.training import TINY_VIT, small_cache, small_config

TEACHER: dict[str, Any] = {"model": "tests.support.teachers:feature_cnn", "name": "a.cnn", "features": True}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return (shards, a cache with features)."""
    folder = tmp_path_factory.mktemp("features")
    shards = write_shards(folder / "data", [24, 24])
    precompute(config_for(folder / "c.zarr", shards, teachers=[TEACHER]), quiet=True)
    return shards, folder / "c.zarr"


def _lines(
    made: tuple[list[str], Path], out: Path, *, resume: bool = False, **changes: Any
) -> list[dict[str, Any]]:
    settings: dict[str, Any] = {"out": str(out), "feature_loss_weight": 0.5, "num_classes": None}
    train(small_config(out.parent, *made, **(settings | changes)), resume=resume)
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize("kind", ["cosine", "mse"])
@pytest.mark.parametrize("student", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_the_loss_on_features_is_added_and_falls(
    kind: str, student: str, made: tuple[list[str], Path], tmp_path: Path
) -> None:
    lines = _lines(made, tmp_path / "run", feature_loss=kind, student=student, steps=30, lr=3e-3)
    weights = (0.5, 0.5) if "deit" in student else (0.0, 1.0)
    first = lines[0]
    parts = weights[0] * (first["task_loss"] or 0.0) + weights[1] * first["distill_loss"]
    assert first["loss"] == pytest.approx(parts + 0.5 * first["feature_loss"], rel=1e-5)
    assert lines[-1]["feature_loss"] < lines[0]["feature_loss"]
    names = load_file(tmp_path / "run" / "model.safetensors").keys()
    assert not [name for name in names if "projector" in name or name.startswith("network")]


def test_features_alone_may_teach_samples_without_labels(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    lines = _lines(made, tmp_path / "run", distill_loss_weight=0.0, feature_loss_weight=1.0)
    assert all(line["loss"] == pytest.approx(line["feature_loss"]) for line in lines)
    assert lines[0]["distill_loss"] is None


def test_a_run_that_goes_on_has_the_maps_that_it_was_stopped_with(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    whole = _lines(made, tmp_path / "whole", model_ema=True)
    state = torch.load(next((tmp_path / "whole").glob("checkpoint-*.pt")), weights_only=True)
    assert set(state["projectors"]) == {"0.projector.weight", "0.projector.bias"}
    again = _lines(made, tmp_path / "whole", resume=True, model_ema=True)
    assert again == whole


def test_a_cache_without_features_is_refused(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path)
    with pytest.raises(ConfigError, match=r"no features of teacher 'formula'.*--store-features adds them"):
        train(small_config(tmp_path, shards, cache, feature_loss_weight=1.0, student_kwargs=TINY_VIT))
