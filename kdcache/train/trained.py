"""The folder of a run, read again: its settings, its report, and its student with trained weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdcache.config.train import TrainConfig
from kdcache.errors import CheckpointError, ConfigError
from kdcache.students import Student, build_student
from kdcache.train.folder import WEIGHTS
from kdcache.train.provenance import teachers_of

__all__ = ["TrainedRun", "open_run"]

_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run that has weights.

    Attributes:
        config: all settings, as ``args.yaml`` keeps them.
        weights: the name of the weights (``model``, ``ema``, ...), or the file that was asked for.
        weights_file: where they are.
        report: ``report.json``; empty while the run is not over.
    """

    folder: Path
    config: TrainConfig
    weights: str
    weights_file: Path
    report: Mapping[str, Any]

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers of the training cache that the student learned from."""
        return teachers_of(self.config)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the report says about the origin of the weights; empty while the run is not over."""
        found: Mapping[str, Any] = self.report.get("provenance", {})
        return found

    def student(self) -> Student:
        """Build the student on the CPU, with its trained weights, ready to be evaluated.

        Raises:
            ConfigError: the student cannot be built here.
            CheckpointError: the weights are damaged, or are not this student's.
        """
        config = self.config
        if config.num_classes is None:
            raise ConfigError(
                f"{self.folder / 'args.yaml'} says no num_classes; a run writes it, so take the file of a run"
            )
        student = build_student(
            config.student,
            num_classes=config.num_classes,
            seed=config.seed,
            kwargs=config.student_kwargs,
            mean=config.mean,
            std=config.std,
        )
        state = _read_weights(self.weights_file, self.weights)
        _demand_fit(student.model, state, self.weights_file, config)
        student.model.load_state_dict(state)
        student.model.eval()
        return student


def open_run(
    folder: str | Path, *, weights: str = "model", checkpoint: str | Path | None = None
) -> TrainedRun:
    """Open the folder of a run.

    ``weights`` names a file in it: ``model`` is ``model.safetensors``, ``ema`` is ``model_ema.safetensors``.
    ``checkpoint`` is any file with weights of this student instead: safetensors, or a training checkpoint.

    Raises:
        ConfigError: this is no folder of a run.
        CheckpointError: there are no such weights.
    """
    folder = Path(folder)
    if not (folder / "args.yaml").is_file():
        raise ConfigError(
            f"{folder} is no folder of a run: there is no args.yaml in it; give the --out of kdcache train"
        )
    return TrainedRun(
        folder=folder,
        config=TrainConfig.from_yaml(folder / "args.yaml"),
        weights=weights if checkpoint is None else Path(checkpoint).name,
        weights_file=_named(folder, weights) if checkpoint is None else _given(Path(checkpoint)),
        report=_report(folder / "report.json"),
    )


def _named(folder: Path, weights: str) -> Path:
    path = folder / (WEIGHTS if weights == "model" else f"model_{weights}.safetensors")
    if path.is_file():
        return path
    files = sorted(found.name for found in folder.glob("model*.safetensors"))
    names = ", ".join(name.removesuffix(".safetensors").removeprefix("model_") for name in files)
    there = f"it has --weights {names}" if files else "it has no weights at all"
    raise CheckpointError(
        f"the run {folder} has no {path.name} ({there}); finish the run with kdcache train --resume, or name a "
        "file with --checkpoint"
    )


def _given(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}; check --checkpoint")
    return path


def _report(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}; restore it from a copy, or delete it") from error
    return report


def _read_weights(path: Path, name: str) -> dict[str, Tensor]:
    """Return a state dict; a training checkpoint gives up the weights that it trains."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}; restore it from a copy") from error
    except Exception as error:
        # torch raises anything on damage, and UnpicklingError on what could run code.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} holds no weights that are safe to load: {reason}") from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path} ({name}) holds no weights: expected a state dict, or a training checkpoint with its model"
        )
    return dict(state)


def _demand_fit(model: nn.Module, state: Mapping[str, Tensor], path: Path, config: TrainConfig) -> None:
    own = model.state_dict()
    wrong = sorted(
        [f"{name} is missing" for name in own.keys() - state.keys()]
        + [f"{name} is unknown" for name in state.keys() - own.keys()]
        + [
            f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ]
    )
    if wrong:
        more = f" and {len(wrong) - _SHOWN_NAMES} more" if len(wrong) > _SHOWN_NAMES else ""
        raise CheckpointError(
            f"{path} does not fit {config.student} with {config.num_classes} classes and {config.student_kwargs}: "
            f"{'; '.join(wrong[:_SHOWN_NAMES])}{more}; take the weights that belong to args.yaml"
        )
