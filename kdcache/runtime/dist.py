"""This process's place among the processes of one run, as torchrun's environment says it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed

from kdcache.errors import ConfigError

__all__ = ["World", "all_sum", "process_group"]

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True, slots=True)
class World:
    """Rank, number of ranks, and the rank on this machine (which picks the accelerator)."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``; a world of one where none is set.

        Raises:
            ConfigError: some of them are missing, are no numbers, or contradict each other.
        """
        given = {name: environ[name] for name in _NAMES if name in environ}
        if not given:
            return cls()
        rank, size, local_rank = (_number(given, name) for name in _NAMES)
        if not 0 <= rank < size:
            raise ConfigError(
                f"RANK is {rank} and WORLD_SIZE is {size}, expected 0 <= RANK < WORLD_SIZE; "
                "start the processes with torchrun"
            )
        return cls(rank, size, local_rank)

    @property
    def is_main(self) -> bool:
        """True for the rank that talks and writes."""
        return self.rank == 0


def _number(given: Mapping[str, str], name: str) -> int:
    if name not in given:
        raise ConfigError(
            f"{', '.join(given)} set, but not {name}: start the processes with torchrun, "
            f"or unset {', '.join(given)} for a run in one process"
        )
    try:
        return int(given[name])
    except ValueError as error:
        raise ConfigError(f"{name} is {given[name]!r}, expected a number; torchrun sets it") from error


@contextlib.contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Join the world's process group for the length of a ``with`` block; a world of one needs none."""
    if world.size == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def all_sum(values: Tensor, world: World) -> Tensor:
    """Return the sum of ``values`` over all ranks."""
    if world.size == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total
