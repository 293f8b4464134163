"""Weights as timm loads them: one safetensors file, described beside it or inside it."""

import json
from collections.abc import Callable
from pathlib import Path

import timm
from safetensors.torch import save
from torch import Tensor, nn

from kdcache.export.subject import Subject

__all__ = ["as_timm_loads_it", "on_views", "write_described", "write_weights", "write_with_metadata"]


def write_weights(subject: Subject, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the state dict; ``metadata`` goes into the file's header."""
    state = {name: tensor.contiguous() for name, tensor in subject.student.model.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", **(metadata or {})}))


def write_described(subject: Subject, path: Path) -> None:
    """Write weights, and beside them the same name with ``.json``: architecture, classes, input."""
    write_weights(subject, path)
    text = json.dumps(subject.timm_config(), indent=2) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")


def write_with_metadata(subject: Subject, path: Path) -> None:
    """Write weights whose header says where they come from and what model they are for."""
    write_weights(subject, path, subject.metadata() | {"config": json.dumps(subject.timm_config())})


def as_timm_loads_it(subject: Subject, path: Path) -> Callable[[Tensor], Tensor]:
    """Build the model anew by timm alone, with the weights in ``path``."""
    model = timm.create_model(
        subject.architecture,
        checkpoint_path=str(path),
        num_classes=subject.student.num_classes,
        **subject.model_args,
    )
    return on_views(subject, model)


def on_views(subject: Subject, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Put the student's normalisation before a model."""
    model.eval()
    return lambda views_B3HW: model(subject.preprocess(views_B3HW))
