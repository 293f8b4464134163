"""The student through ``torch.compile``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from kdcache.errors import ConfigError

__all__ = ["compiled"]


def compiled(model: nn.Module) -> Callable[..., Any]:
    """Return a compiled ``model.__call__``; the model itself, its names and its weights stay what they are."""
    fast = torch.compile(model)

    def forward(*inputs: Any) -> Any:
        from torch._dynamo.exc import BackendCompilerFailed  # noqa: PLC0415 - 2 s that other runs need not pay

        try:
            return fast(*inputs)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().partition("\n")[0]
            raise ConfigError(
                f"--compile: torch could not compile the student ({reason}); on a CPU it needs a C++ compiler "
                "(g++), on a GPU Triton; or leave out --compile"
            ) from error

    return forward
