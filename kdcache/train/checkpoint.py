"""Checkpoints: whole or absent, checked by sha256, and tied to the settings that they were taken under.

``checkpoint.json`` names the newest state file, and the best ones, with their digests; it is replaced last,
so a run that dies at any moment leaves either the old checkpoint or the new one. State files are read with
``weights_only=True``.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kdcache.digest import sha256_hex
from kdcache.errors import CheckpointError
from kdcache.train.journal import replace_file
from kdcache.train.metrics import Figure

__all__ = ["Checkpoints"]

_INDEX = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run folder: the newest state, and the best ones if they are kept.

    Attributes:
        binding: the settings that must be the same when the run is resumed, as JSON values.
        origin: the cache that the run learns from, to be kept with every state: its address and content id.
    """

    folder: Path
    binding: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)

    def exists(self) -> bool:
        """Tell whether there is one."""
        return (self.folder / _INDEX).exists()

    def save(self, state: Mapping[str, Any], *, step: int) -> None:
        """Replace the checkpoint; ``state`` holds tensors, numbers, strings, lists and dicts."""
        buffer = io.BytesIO()
        torch.save({**state, "origin": dict(self.origin)}, buffer)
        content = buffer.getvalue()
        name = f"checkpoint-{step:08d}.pt"
        best = self._index()["best"] if self.exists() else []
        replace_file(self.folder / name, content)
        entry = {"file": name, "sha256": sha256_hex(content), "step": step}
        kept = [old | entry if old["file"] == name else old for old in best]
        self._write_index({**entry, "origin": self.origin, "binding": self.binding, "best": kept})

    def keep_best(self, figure: Figure, *, most: int) -> bool:
        """Keep the newest state beside later ones if it is among the ``most`` best; tell whether it is the best.

        States that were kept for another figure are given up.
        """
        index = self._index()
        new = {name: index[name] for name in ("file", "sha256", "step")}
        new |= {"metric": figure.name, "value": figure.value}
        rivals = [
            old for old in index["best"] if old["metric"] == figure.name and old["step"] != index["step"]
        ]
        if math.isfinite(figure.value):
            rivals.append(new)
        sign = 1.0 if figure.lower_is_better else -1.0
        best = sorted(rivals, key=lambda entry: (sign * entry["value"], entry["step"]))[:most]
        self._write_index(index | {"best": best})
        return bool(best) and best[0] is new

    def load(self, *, step: int | None = None) -> dict[str, Any]:
        """Return the newest state, or the best one that was taken after ``step``; its tensors on the CPU.

        Raises:
            CheckpointError: it is damaged, was taken under other settings, or there is none of that step.
        """
        index = self._index()
        self._check_binding(index["binding"])
        entry = index if step is None else self._entry_of(index, step)
        path = self.folder / entry["file"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}; {_START_ANEW}") from error
        found = sha256_hex(content)
        if found != entry["sha256"]:
            raise CheckpointError(
                f"{path} is damaged: its sha256 is {found[:12]}, {_INDEX} says {entry['sha256'][:12]}; "
                f"{_START_ANEW}"
            )
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state

    def _entry_of(self, index: Mapping[str, Any], step: int) -> Mapping[str, Any]:
        entries: dict[int, Mapping[str, Any]] = {entry["step"]: entry for entry in (*index["best"], index)}
        if step not in entries:
            raise CheckpointError(
                f"{self.folder} has no state after step {step:,}; it has those after "
                f"{', '.join(f'{known:,}' for known in sorted(entries))}"
            )
        return entries[step]

    def _write_index(self, index: Mapping[str, Any]) -> None:
        """Replace the index, then remove the state files that it does not name."""
        replace_file(self.folder / _INDEX, json.dumps(index, indent=2).encode())
        named = {index["file"], *(entry["file"] for entry in index["best"])}
        for path in self.folder.glob("checkpoint-*.pt"):
            if path.name not in named:
                path.unlink()

    def _index(self) -> dict[str, Any]:
        path = self.folder / _INDEX
        try:
            index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"file", "sha256", "step", "binding", "best"} - index.keys()
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
