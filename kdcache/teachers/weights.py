"""Weights: read from a file that holds tensors only, loaded without a gap, named by a digest."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kdcache.digest import weights_sha256
from kdcache.errors import TeacherError

__all__ = ["load_strictly", "module_sha256", "read_weights"]

_TORCH_SUFFIXES = {".pth", ".pt", ".bin", ".tar"}
_WRAPPERS = ("state_dict_ema", "state_dict", "model_ema", "model")
_SHOWN_NAMES = 3


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from .pth / .pt / .bin by torch's weights-only loader.

    A training checkpoint gives up what it keeps under ``state_dict`` or ``model``, the averaged weights
    first; a prefix ``module.`` (DistributedDataParallel) is dropped.

    Raises:
        TeacherError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise TeacherError(f"there is no checkpoint {path}; check --teacher-checkpoint")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _TORCH_SUFFIXES:
        return _tensors(_read_torch(path), path)
    known = ", ".join([".safetensors", *sorted(_TORCH_SUFFIXES)])
    raise TeacherError(f"{path}: unknown suffix {path.suffix!r}, expected one of {known}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise TeacherError(f"{path} is not a whole safetensors file: {error}; fetch it again") from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The weights-only loader raises UnpicklingError for what could run code, and for damage anything.
        if type(error).__name__ == "UnpicklingError":
            raise TeacherError(
                f"{path} holds more than weights (or is damaged), and what else it holds could run code: it "
                "was not loaded; save its state_dict alone, best as .safetensors"
            ) from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise TeacherError(f"{path} is not a whole torch checkpoint: {reason}; fetch it again") from error


def _tensors(value: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        raise TeacherError(f"{path} holds a {type(value).__name__}, expected a state dict (names to tensors)")
    for wrapper in _WRAPPERS:
        if isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
            break
    state = {str(name).removeprefix("module."): tensor for name, tensor in value.items()}
    strangers = [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]
    if strangers or not state:
        raise TeacherError(
            f"{path} is no state dict: {strangers[0] if strangers else 'it is empty'!r} is not a tensor; "
            "save model.state_dict() alone"
        )
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load ``state`` into ``module``; every name and shape must fit.

    Raises:
        TeacherError: naming what is missing, what is left over, and what has another shape.
    """
    own = module.state_dict()
    wrong = [
        f"{name} is {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the network"
        for name in own.keys() & state.keys()
        if state[name].shape != own[name].shape
    ]
    problems = [
        *_listed("missing in the file", own.keys() - state.keys()),
        *_listed("unknown to the network", state.keys() - own.keys()),
        *sorted(wrong)[:_SHOWN_NAMES],
    ]
    if problems:
        raise TeacherError(
            f"{where} does not fit the network: {'; '.join(problems)}; give the architecture that the "
            "weights were made with (--teacher-kwargs num_classes=N for another number of classes)"
        )
    module.load_state_dict(dict(state), strict=True)


def _listed(what: str, names: set[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(sorted(names)[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return [f"{len(names)} {what} ({shown}{f' and {more} more' if more > 0 else ''})"]


def module_sha256(module: nn.Module) -> str:
    """Return the digest of every parameter and buffer, as loaded.

    Raises:
        TeacherError: the state dict holds something that is no tensor.
    """
    return weights_sha256(_entries(module.state_dict()))


def _entries(state: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise TeacherError(
                f"the network's state dict holds {name!r}, a {type(tensor).__name__}: weights are named by a "
                "digest of tensors; register it as a buffer, or leave it out of the state dict"
            )
        plain = tensor.detach().cpu().contiguous()
        dtype = str(plain.dtype).removeprefix("torch.")
        # NumPy has no bfloat16, and none of the float8s: their bytes are read through uint8.
        yield name, dtype, tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy().tobytes()
