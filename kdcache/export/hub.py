"""A folder in the layout of timm's models on the Hugging Face hub, with a model card."""

import json
from collections.abc import Callable
from pathlib import Path

import timm
from torch import Tensor

from kdcache.export.card import model_card
from kdcache.export.subject import Subject
from kdcache.export.weights import on_views, write_weights

__all__ = ["as_timm_opens_it", "write_hub_folder"]


def write_hub_folder(subject: Subject, folder: Path, *, name: str) -> None:
    """Write config.json, model.safetensors and README.md; ``name`` is what the folder will be called."""
    folder.mkdir()
    write_weights(subject, folder / "model.safetensors", subject.metadata())
    config = json.dumps(subject.timm_config(), indent=2) + "\n"
    (folder / "config.json").write_text(config, encoding="utf-8")
    (folder / "README.md").write_text(model_card(subject, name=name), encoding="utf-8")


def as_timm_opens_it(subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """Open the folder by timm alone: the architecture, too, comes from it."""
    return on_views(subject, timm.create_model(f"local-dir:{folder}", pretrained=True))
