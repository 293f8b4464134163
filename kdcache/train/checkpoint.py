"""Checkpoints: whole or absent, checked by sha256, and tied to the settings that they were taken under.

``checkpoint.json`` names the newest state file with its digest; it is replaced last, so a run that dies at
any moment leaves either the old checkpoint or the new one. State files are read with ``weights_only=True``.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdcache.digest import sha256_hex
from kdcache.errors import CheckpointError
from kdcache.train.journal import replace_file

__all__ = ["Checkpoints"]

_INDEX = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoint of one run folder.

    Attributes:
        binding: the settings that must be the same when the run is resumed, as JSON values.
    """

    folder: Path
    binding: Mapping[str, Any]

    def exists(self) -> bool:
        """Tell whether there is one."""
        return (self.folder / _INDEX).exists()

    def save(self, state: Mapping[str, Any], *, step: int) -> None:
        """Replace the checkpoint; ``state`` holds tensors, numbers, strings, lists and dicts."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getvalue()
        name = f"checkpoint-{step:08d}.pt"
        replace_file(self.folder / name, content)
        index = {"file": name, "sha256": sha256_hex(content), "step": step, "binding": self.binding}
        replace_file(self.folder / _INDEX, json.dumps(index, indent=2).encode())
        for old in self.folder.glob("checkpoint-*.pt"):
            if old.name != name:
                old.unlink()

    def load(self) -> dict[str, Any]:
        """Return the newest state, its tensors on the CPU.

        Raises:
            CheckpointError: it is damaged, or was taken under other settings.
        """
        index = self._index()
        self._check_binding(index["binding"])
        path = self.folder / index["file"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}; {_START_ANEW}") from error
        found = sha256_hex(content)
        if found != index["sha256"]:
            raise CheckpointError(
                f"{path} is damaged: its sha256 is {found[:12]}, {_INDEX} says {index['sha256'][:12]}; "
                f"{_START_ANEW}"
            )
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state

    def _index(self) -> dict[str, Any]:
        path = self.folder / _INDEX
        try:
            index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"file", "sha256", "step", "binding"} - index.keys()
        except (AttributeError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {error}; {_START_ANEW}") from error
        if missing:
            raise CheckpointError(f"{path} is damaged: {', '.join(sorted(missing))} missing; {_START_ANEW}")
        return index

    def _check_binding(self, found: Mapping[str, Any]) -> None:
        expected = json.loads(json.dumps(self.binding))
        names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        if names:
            changes = "; ".join(
                f"{name}: checkpoint {found.get(name)!r}, now {expected.get(name)!r}" for name in names
            )
            raise CheckpointError(
                f"the checkpoint in {self.folder} was taken under other settings ({changes}); resume with "
                "the settings of args.yaml beside it, or start a new run with another --out"
            )


_START_ANEW = "restore the folder from a copy, or start a new run with another --out"
