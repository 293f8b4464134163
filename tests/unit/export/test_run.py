"""An export appears whole and checked, or not at all."""

from pathlib import Path

import pytest
import torch

from kdcache.errors import CheckpointError, ConfigError
from kdcache.export.run import export_run
from kdcache.export.subject import Subject
from kdcache.train.trained import TrainedRun


def test_weights_and_description_get_their_names(run: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "new" / "deit.safetensors"
    report = export_run(run, to="timm", out=out)
    assert sorted(path.name for path in out.parent.iterdir()) == ["deit.json", "deit.safetensors"]
    assert report.files == (str(out), str(out.with_suffix(".json")))
    assert report.max_difference <= 1e-5
    names: dict[str, object] = {}
    exec(report.load, names)  # noqa: S102
    assert isinstance(names["model"], torch.nn.Module)


def test_an_export_that_differs_leaves_nothing_behind(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that change between writing and loading stand for any fault in between."""
    own = Subject.views
    monkeypatch.setattr(Subject, "views", lambda self, count: _disturb(self, own(self, count)))
    with pytest.raises(CheckpointError, match="nothing was written"):
        export_run(run, to="hub-folder", out=tmp_path / "hub")
    assert list(tmp_path.iterdir()) == []


def _disturb(subject: Subject, views_B3HW: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        next(subject.student.model.parameters()).mul_(1.1)
    return views_B3HW


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "timm", "out": "a.pth"}, r"let its name end in \.safetensors"),
        ({"to": "onnx", "out": "a.bin"}, r"let its name end in \.onnx"),
        ({"to": "timm", "out": "a.safetensors", "opset": 18}, "are for ONNX"),
        ({"to": "hub-folder", "out": "a", "with_preprocess": True}, "are for ONNX"),
        ({"to": "safetensors", "out": "there.safetensors"}, "is there already"),
        ({"to": "timm", "out": "described.safetensors"}, r"described\.json is there already"),
        ({"to": "safetensors", "out": "there.safetensors/a.safetensors"}, "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_written(
    run: TrainedRun, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    (tmp_path / "there.safetensors").touch()
    (tmp_path / "described.json").touch()
    with pytest.raises(ConfigError, match=message):
        export_run(run, **(settings | {"out": tmp_path / str(settings["out"])}))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["described.json", "there.safetensors"]
