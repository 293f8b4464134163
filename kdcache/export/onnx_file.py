"""ONNX: the student as a graph with a free batch size, through torch's exporter."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdcache.errors import ConfigError
from kdcache.export.subject import Subject

__all__ = ["DEFAULT_OPSET", "as_onnxruntime_runs_it", "load_call", "write_onnx"]

DEFAULT_OPSET = 18

_INPUT, _OUTPUT = "images", "logits"
_LARGEST_BYTES = 2**31 - 2**20


class _Served(nn.Module):
    """The student, with its normalisation before it where that is asked for."""

    def __init__(self, model: nn.Module, preprocess: nn.Module) -> None:
        super().__init__()
        self.preprocess, self.model = preprocess, model

    def forward(self, images: Tensor) -> Tensor:
        logits_BC: Tensor = self.model(self.preprocess(images))
        return logits_BC


def write_onnx(subject: Subject, path: Path, *, opset: int, with_preprocess: bool) -> None:
    """Write the graph as one file.

    Its input is ``images``: normalised float32 (B, 3, H, W), or uint8 pixels ``with_preprocess``; its output is
    ``logits`` (B, C).

    Raises:
        ConfigError: a package is missing, the file would be too large, or the model has an operation that the
            exporter or the opset does not know.
    """
    _package("onnxscript")
    _demand_opset_in_range(opset)
    _demand_size(subject)
    served = _Served(subject.student.model, subject.preprocess if with_preprocess else nn.Identity()).eval()
    views_B3HW = subject.views(2)  # one alone would be taken for a fixed batch size
    example = views_B3HW if with_preprocess else subject.preprocess(views_B3HW)
    try:
        program: Any = torch.onnx.export(
            served,
            (example,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{subject.student.name} cannot be exported to ONNX by torch {torch.__version__}: {reason}; try another "
            "--opset, or export to timm"
        ) from error
    _demand_opset(program, opset, subject)
    program.model.metadata_props.update(subject.metadata() | _input_facts(subject, with_preprocess))
    program.save(path, external_data=False)


def as_onnxruntime_runs_it(
    subject: Subject, path: Path, *, with_preprocess: bool
) -> Callable[[Tensor], Tensor]:
    """Open the file in ONNX Runtime, on the CPU.

    Raises:
        ConfigError: ONNX Runtime is not installed, or does not take the file.
    """
    runtime = _package("onnxruntime")
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class but this one
        raise ConfigError(
            f"ONNX Runtime {runtime.__version__} does not take the graph of {subject.student.name}: "
            f"{' '.join(str(error).split())}; try a lower --opset, or export to timm"
        ) from error

    def run(views_B3HW: Tensor) -> Tensor:
        images = views_B3HW if with_preprocess else subject.preprocess(views_B3HW)
        return torch.from_numpy(session.run([_OUTPUT], {_INPUT: images.numpy()})[0])

    return run


def load_call(path: Path) -> str:
    """Return the Python that runs the file."""
    return (
        "import onnxruntime\n"
        f'session = onnxruntime.InferenceSession("{path}")\n'
        f'logits = session.run(None, {{"{_INPUT}": images}})[0]'
    )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"exporting to ONNX needs the package {name}, which is not installed: pip install 'kdcache[onnx]'"
        ) from error


def _demand_size(subject: Subject) -> None:
    tensors = subject.student.model.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > _LARGEST_BYTES:
        raise ConfigError(
            f"{subject.student.name} has {size:,} bytes of weights, an ONNX file holds less than 2 GiB; "
            "export to timm or hub-folder"
        )


def _demand_opset_in_range(opset: int) -> None:
    """The exporter writes opset 18 and converts to later ones."""
    newest = _package("onnx").defs.onnx_opset_version()
    if not DEFAULT_OPSET <= opset <= newest:
        raise ConfigError(f"--opset {opset}: expected {DEFAULT_OPSET} to {newest}")


def _demand_opset(program: Any, opset: int, subject: Subject) -> None:
    """The exporter leaves a graph as it is where it cannot be converted."""
    found = program.model.opset_imports[""]
    if found != opset:
        raise ConfigError(
            f"torch {torch.__version__} writes {subject.student.name} in opset {found} and cannot convert it to "
            f"{opset}; leave --opset out, or give {found}"
        )


def _input_facts(subject: Subject, with_preprocess: bool) -> dict[str, str]:
    spec = subject.spec
    if with_preprocess:
        return {"input": "uint8 RGB pixels"}
    return {"input": "float32, (pixels / 255 - mean) / std", "mean": str(spec.mean), "std": str(spec.std)}
