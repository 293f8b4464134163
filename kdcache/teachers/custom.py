"""Teachers of one's own: ``module:factory`` names a callable that returns a torch module."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError, TeacherError
from kdcache.teachers.weights import load_strictly, read_weights

__all__ = ["custom_network"]


def custom_network(config: TeacherConfig) -> tuple[nn.Module, str]:
    """Call the factory with ``config.kwargs``, load the checkpoint if there is one, and say where from.

    Raises:
        ConfigError: the module or the factory cannot be found.
        TeacherError: the factory fails or returns something else, or the checkpoint does not fit.
    """
    factory = _find(config.model)
    try:
        module = factory(**config.kwargs)
    except Exception as error:
        # It is the user's code: anything can come out of it.
        raise TeacherError(f"{config.model} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise TeacherError(
            f"{config.model} returned a {type(module).__name__}, expected a torch.nn.Module that maps "
            "normalised images (B, 3, h, w) to logits (B, C)"
        )
    if config.checkpoint is None:
        return module, f"weights by {config.model}"
    load_strictly(module, read_weights(config.checkpoint), where=str(config.checkpoint))
    return module, f"checkpoint {config.checkpoint.name}"


def _find(address: str) -> Callable[..., object]:
    module_name, _, name = address.partition(":")
    module = _import(module_name, address)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ConfigError(
            f"--teacher {address}: {module_name} has no callable {name!r}; expected module:factory"
        )
    found: Callable[..., object] = factory
    return found


def _import(module_name: str, address: str) -> ModuleType:
    # A command finds modules beside the user, as ``python -m`` does; installed ones come first.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"--teacher {address}: cannot import {module_name!r} ({error}); run in the folder that holds it, "
            "install it, or set PYTHONPATH"
        ) from error
