"""``export_run``: write beside the destination, load it again, compare, and only then give it its name."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.export.check import VIEWS_CHECKED, max_difference
from kdcache.export.hub import as_timm_opens_it, write_hub_folder
from kdcache.export.onnx_file import DEFAULT_OPSET, as_onnxruntime_runs_it, load_call, write_onnx
from kdcache.export.report import ExportReport
from kdcache.export.subject import Subject
from kdcache.export.weights import as_timm_loads_it, write_described, write_with_metadata
from kdcache.train.trained import TrainedRun

__all__ = ["FORMATS", "Format", "export_run"]

Format = Literal["timm", "safetensors", "onnx", "hub-folder"]
FORMATS: Final[tuple[Format, ...]] = ("timm", "safetensors", "onnx", "hub-folder")

_SUFFIXES = {"timm": ".safetensors", "safetensors": ".safetensors", "onnx": ".onnx", "hub-folder": ""}


@dataclass(frozen=True, slots=True)
class _Written:
    """An export under its passing name, loaded again."""

    files: tuple[Path, ...]
    exported: Callable[[Tensor], Tensor]
    load: str


def export_run(
    run: TrainedRun,
    *,
    to: Format,
    out: str | Path,
    class_names: tuple[str, ...] | None = None,
    opset: int | None = None,
    with_preprocess: bool = False,
    tolerance: float = 1e-5,
) -> ExportReport:
    """Write the student of a run in another form; its logits are within ``tolerance`` of the run's.

    ``opset`` and ``with_preprocess`` (uint8 pixels in, normalisation in the graph) are for ``onnx``.

    Raises:
        ConfigError: the destination is taken or has another suffix, settings do not go together, or a package
            is missing.
        CheckpointError: the weights are damaged, or the export does not reproduce them; nothing is left behind.
    """
    out = Path(out)
    if to != "onnx" and (opset is not None or with_preprocess):
        raise ConfigError(
            f"opset and with_preprocess are for ONNX, and the export is to {to}; leave them out"
        )
    _demand_free(out, to)
    subject = Subject.of(run, class_names)
    opset = (opset or DEFAULT_OPSET) if to == "onnx" else None
    passing = _passing_folder(out)
    try:
        written = _write(subject, to, passing / out.name, out, opset, with_preprocess=with_preprocess)
        difference = max_difference(subject, written.exported, tolerance=tolerance)
        for file in reversed(written.files):
            file.rename(out.with_name(file.name))
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return ExportReport(
        to=to,
        files=tuple(str(out.with_name(file.name)) for file in written.files),
        student=subject.student.name,
        weights_file=str(run.weights_file),
        input=_input(subject, with_preprocess=with_preprocess),
        max_difference=difference,
        views_checked=VIEWS_CHECKED,
        load=written.load,
        opset=opset,
    )


def _write(
    subject: Subject, to: Format, path: Path, out: Path, opset: int | None, *, with_preprocess: bool
) -> _Written:
    if opset is not None:
        write_onnx(subject, path, opset=opset, with_preprocess=with_preprocess)
        exported = as_onnxruntime_runs_it(subject, path, with_preprocess=with_preprocess)
        return _Written((path,), exported, load_call(out))
    if to == "hub-folder":
        write_hub_folder(subject, path, name=out.name)
        load = f'{subject.imports}\nmodel = timm.create_model("local-dir:{out}", pretrained=True).eval()'
        return _Written((path,), as_timm_opens_it(subject, path), load)
    if to == "timm":
        write_described(subject, path)
        files: tuple[Path, ...] = (path, path.with_suffix(".json"))
    else:
        write_with_metadata(subject, path)
        files = (path,)
    return _Written(files, as_timm_loads_it(subject, path), subject.create_call(out))


def _demand_free(out: Path, to: Format) -> None:
    suffix = _SUFFIXES[to]
    if suffix and out.suffix != suffix:
        raise ConfigError(f"--out {out}: an export to {to} is a file; let its name end in {suffix}")
    taken = [path for path in (out, *([out.with_suffix(".json")] if to == "timm" else [])) if path.exists()]
    if taken:
        raise ConfigError(f"--out {taken[0]} is there already; choose another name, or remove it")


def _passing_folder(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error.strerror}; choose another place") from error


def _input(subject: Subject, *, with_preprocess: bool) -> str:
    spec = subject.spec
    kind = (
        "uint8 pixels" if with_preprocess else f"float32, normalised with mean {spec.mean} and std {spec.std}"
    )
    return f"(B, 3, {spec.height}, {spec.width}) {kind}"
