"""Which device a run computes on, and in which precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from kdcache.errors import ConfigError

__all__ = ["Precision", "autocast", "available_cores", "device_name", "resolve_device"]

Precision = Literal["float32", "bfloat16", "float16"]


def resolve_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        name = _best()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        return _cuda(device, local_rank)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not available on this machine; use --device cpu")
    if device.type not in {"cpu", "mps"}:
        raise ConfigError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cuda(device: torch.device, local_rank: int) -> torch.device:
    index = local_rank if device.index is None else device.index
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ConfigError(
            f"device cuda:{index} is not available: torch {torch.__version__} sees {count} CUDA devices; "
            "use --device cpu, or a torch built for your driver"
        )
    return torch.device("cuda", index)


def available_cores() -> int:
    """Return how many cores this process may use; containers and ``taskset`` may leave it a part of them."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def device_name(device: torch.device) -> str:
    """Return what the device is, for the manifest and the log."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context in which matrix products run in ``precision``."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
