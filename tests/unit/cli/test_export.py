"""``kdcache export`` tells how to load what it wrote; tests/integration/test_export.py loads it."""

import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kdcache.students import build_student
from kdcache.train.folder import save_weights
from kdcache_cli.main import kdcache
from tests.support.training import TINY_VIT, small_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was stopped after it wrote weights."""
    folder = tmp_path_factory.mktemp("export")
    config = small_config(folder, ["a.tar"], folder / "c.zarr", num_classes=10)
    (folder / "args.yaml").write_text(config.to_yaml())
    save_weights(folder, build_student(config.student, num_classes=10, seed=1, kwargs=TINY_VIT).model)
    return folder


def _export(*words: object) -> Result:
    return CliRunner().invoke(kdcache, ["export", *map(str, words)])


def test_the_difference_and_the_way_to_load_are_printed(run: Path, tmp_path: Path) -> None:
    result = _export(run, "--to", "safetensors", "--out", tmp_path / "a.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "logits differ by at most" in result.stdout
    assert 'timm.create_model("vit_tiny_patch16_224", checkpoint_path=' in result.stdout


def test_class_names_may_come_from_a_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    words = ["--to", "timm", "--out", tmp_path / "a.safetensors", "--class-names", tmp_path / "names.txt"]
    facts = json.loads(_export(run, *words, "--json").stdout)
    assert json.loads(Path(facts["files"][1]).read_text())["label_names"] == list("abcdefghij")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--to", "timm", "--out", "a.safetensors", "--weights", "ema"], 3, "has no model_ema.safetensors"),
        (["--to", "timm", "--out", "a.onnx"], 2, "let its name end in .safetensors"),
        (["--to", "coreml", "--out", "a"], 2, "'coreml' is not one of"),
        (["--to", "timm", "--out", "a.safetensors", "--tolerance", "-1"], 3, "nothing was written"),
        (["--to", "onnx", "--out", "a.onnx", "--opset", "7"], 2, "--opset 7: expected 18"),
    ],
)
def test_what_cannot_be_is_one_paragraph(
    run: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    with contextlib.chdir(tmp_path):
        result = _export(run, *words)
    assert (result.exit_code, "Traceback" in result.stderr) == (code, False), result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []
