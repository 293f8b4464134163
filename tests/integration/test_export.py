"""Exports reproduce the run's evaluation: loaded as users load them, on the validation shards."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdcache.data.evaluation import eval_loader
from kdcache.export import export_run
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.train import TrainReport, train
from kdcache.train.trained import open_run
from tests.support.training import TINY_VIT, small_cache, small_config

onnxruntime = importlib.import_module("onnxruntime")  # it has no types

STUDENTS = {"plain": "vit_tiny_patch16_224", "token": "deit_tiny_distilled_patch16_224"}
INPUT: dict[str, Any] = {"mean": (0.45, 0.5, 0.55), "std": (0.25, 0.26, 0.27)}
NORMALISE = Preprocess(InputSpec(24, 24, **INPUT))

Logits = NDArray[np.float32]


class Trained:
    """A finished run, and the views that it was last evaluated on."""

    def __init__(self, report: TrainReport, shards: list[str], cache: Path) -> None:
        assert report.evaluation is not None
        assert report.evaluation.top1 is not None
        self.folder, self.top1 = Path(report.out), report.evaluation.top1
        batches = list(eval_loader(shards, cache=cache, batch_size=7))
        self.views = [batch.images_B3HW for batch in batches]
        self.labels_N = torch.cat([batch.labels_B for batch in batches]).numpy()
        model = open_run(self.folder).student().model
        self.logits_NC = self.through(lambda views: model(NORMALISE(views)))

    def through(self, model: Callable[[Tensor], Tensor]) -> Logits:
        """Return the logits of all views, batch by batch."""
        with torch.inference_mode():
            return np.concatenate([model(views_B3HW).numpy() for views_B3HW in self.views])

    def demand_same(self, found_NC: Logits) -> None:
        """The logits are the run's, and their top-1 is the one in its report."""
        assert np.abs(found_NC - self.logits_NC).max() <= 1e-5
        assert np.array_equal(found_NC.argmax(axis=1), self.logits_NC.argmax(axis=1))
        assert float((found_NC.argmax(axis=1) == self.labels_N).mean()) == self.top1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Train both students ten steps."""
    folder = tmp_path_factory.mktemp("export")
    shards, cache = small_cache(folder)
    settings: dict[str, Any] = {"val": shards, "val_cache": str(cache), **INPUT}
    return {
        name: Trained(
            train(small_config(folder, shards, cache, student=student, out=str(folder / name), **settings)),
            shards,
            cache,
        )
        for name, student in STUDENTS.items()
    }


def _timm(model: nn.Module) -> Callable[[Tensor], Tensor]:
    model.eval()
    return lambda views_B3HW: model(NORMALISE(views_B3HW))


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("to", ["timm", "safetensors"])
def test_timm_loads_the_weights(runs: dict[str, Trained], tmp_path: Path, name: str, to: Any) -> None:
    out = tmp_path / "student.safetensors"
    export_run(open_run(runs[name].folder), to=to, out=out)
    model = timm.create_model(STUDENTS[name], checkpoint_path=str(out), num_classes=10, **TINY_VIT)
    runs[name].demand_same(runs[name].through(_timm(model)))


@pytest.mark.parametrize("name", STUDENTS)
def test_timm_opens_the_hub_folder(runs: dict[str, Trained], tmp_path: Path, name: str) -> None:
    export_run(open_run(runs[name].folder), to="hub-folder", out=tmp_path / "hub")
    model = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True)
    runs[name].demand_same(runs[name].through(_timm(model)))
    assert f"| top-1 | {runs[name].top1:.4f} |" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize(("name", "with_preprocess"), [("plain", True), ("token", False)])
def test_onnx_runtime_runs_the_graph(
    runs: dict[str, Trained], tmp_path: Path, name: str, with_preprocess: bool
) -> None:
    out = tmp_path / "student.onnx"
    report = export_run(
        open_run(runs[name].folder), to="onnx", out=out, opset=18, with_preprocess=with_preprocess
    )
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    kind = "tensor(uint8)" if with_preprocess else "tensor(float)"
    assert (taken.name, taken.shape, taken.type) == ("images", ["batch", 3, 24, 24], kind)
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["student"], report.opset) == (STUDENTS[name], 18)

    def run(views_B3HW: Tensor) -> Tensor:
        images = views_B3HW if with_preprocess else NORMALISE(views_B3HW)
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    runs[name].demand_same(runs[name].through(run))
