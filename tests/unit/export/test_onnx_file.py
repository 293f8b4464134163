"""What ONNX needs is said before anything is computed; tests/integration/test_export.py writes real graphs."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kdcache.errors import ConfigError
from kdcache.export.onnx_file import as_onnxruntime_runs_it, load_call, write_onnx
from kdcache.export.subject import Subject


def _write(subject: Subject, path: Path, opset: int = 18) -> None:
    write_onnx(subject, path, opset=opset, with_preprocess=False)


@pytest.mark.parametrize("opset", [9, 999])
def test_an_opset_that_cannot_be_had_is_refused(subject: Subject, tmp_path: Path, opset: int) -> None:
    with pytest.raises(ConfigError, match=rf"--opset {opset}: expected 18 to \d+"):
        _write(subject, tmp_path / "a.onnx", opset)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}, .* pip install 'kdcache\[onnx\]'"):
        _write(subject, tmp_path / "a.onnx")


def test_a_model_too_large_for_one_file_is_refused(subject: Subject, tmp_path: Path) -> None:
    with torch.device("meta"):
        huge = nn.Linear(1 << 15, 1 << 15)
    student = replace(subject.student, model=huge)
    with pytest.raises(ConfigError, match="bytes of weights, an ONNX file holds less than 2 GiB"):
        _write(replace(subject, student=student), tmp_path / "a.onnx")


def test_a_file_that_is_no_graph_is_refused(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"ONNX Runtime \S+ does not take the graph"):
        as_onnxruntime_runs_it(subject, tmp_path / "a.onnx", with_preprocess=False)


def test_the_call_names_the_file_and_the_input() -> None:
    assert 'InferenceSession("out/a.onnx")' in load_call(Path("out/a.onnx"))
    assert '{"images": images}' in load_call(Path("out/a.onnx"))
