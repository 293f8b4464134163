"""Where the journal is mirrored: TensorBoard events, Weights & Biases."""

import importlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.train.journal import Journal, Mirror

__all__ = ["TensorBoardMirror", "WandbMirror", "demand_mirrors", "open_mirrors"]

_KINDS = ("train", "eval")


def demand_mirrors(config: TrainConfig) -> None:
    """Refuse, before anything is done, a mirror whose package is missing.

    Raises:
        ConfigError: naming the extra that brings it.
    """
    if config.tensorboard:
        _module("torch.utils.tensorboard", "tensorboard")
    if config.log_wandb:
        _module("wandb", "wandb")


def open_mirrors(config: TrainConfig, journal: Journal, *, step: int) -> tuple[Mirror, ...]:
    """Return the mirrors of a run that goes on after ``step``; its journal was cut back to there."""
    folder = Path(config.out)
    mirrors: list[Mirror] = []
    if config.tensorboard:
        mirrors.append(TensorBoardMirror(folder / "tensorboard", journal, step=step))
    if config.log_wandb:
        mirrors.append(WandbMirror(folder, config.model_dump(mode="json")))
    return tuple(mirrors)


class TensorBoardMirror:
    """Numbers of the log as scalars ``kind/name`` over steps.

    Events at or after ``step`` are those of steps that are about to be taken again: they are purged, and
    what the journal still holds of them is written once more; of a run that had no events so far, all is.
    """

    def __init__(self, folder: Path, journal: Journal, *, step: int) -> None:
        first = step if folder.exists() else 0
        module = _module("torch.utils.tensorboard", "tensorboard")
        self._writer = module.SummaryWriter(log_dir=str(folder), purge_step=first)
        for kind in _KINDS:
            for facts in journal.read(kind):
                if facts["step"] >= first:
                    self.write(kind, facts)

    def write(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Write the numbers of one line."""
        for name, value in _numbers(kind, facts).items():
            self._writer.add_scalar(name, value, facts["step"])
        self._writer.flush()  # a run that is killed has then lost nothing that its journal holds

    def close(self) -> None:
        """Close the file of events."""
        self._writer.close()


class WandbMirror:
    """Numbers of the log as a run of Weights & Biases, which a resumed run goes on with.

    W&B ignores what is sent again for steps that it has, so a resumed run repeats nothing there.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        path = folder / "wandb-id"
        if not path.exists():
            path.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = _module("wandb", "wandb").init(
            project=os.environ.get("WANDB_PROJECT", "kdcache"),
            name=folder.name,
            dir=str(folder),
            id=path.read_text(encoding="utf-8"),
            resume="allow",
            config=dict(settings),
        )

    def write(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Send the numbers of one line."""
        if numbers := _numbers(kind, facts):
            self._run.log(numbers, step=facts["step"])

    def close(self) -> None:
        """Finish the upload."""
        self._run.finish()


def _numbers(kind: str, facts: Mapping[str, Any]) -> dict[str, float]:
    if kind not in _KINDS:
        return {}
    return {
        f"{kind}/{name}": value
        for name, value in facts.items()
        if isinstance(value, int | float) and name != "step"
    }


def _module(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        flag = "--log-wandb" if extra == "wandb" else f"--{extra}"
        raise ConfigError(
            f"{flag} needs {extra} ({error}); pip install 'kdcache[{extra}]', or leave out {flag}"
        ) from error
