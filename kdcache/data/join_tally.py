"""What became of a pipeline's samples, counted by loader workers where their parent can read it."""

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch.utils.data import get_worker_info

__all__ = ["JoinCounts", "JoinTally"]

_WORKERS = 256


@dataclass(frozen=True, slots=True)
class JoinCounts:
    """What became of the samples, since the stage was made.

    Attributes:
        joined: views that were passed on.
        unknown: samples left out because the cache does not have them.
        bad: samples left out because stage one could not decode them.
        checked: views that were compared with the cache's digest.
        drifted: those of them that differ by a decoder's rounding, where that is allowed.
    """

    joined: int
    unknown: int
    bad: int
    checked: int
    drifted: int


_COLUMNS = {field.name: column for column, field in enumerate(fields(JoinCounts))}


class JoinTally:
    """Counters in shared memory: a row for each worker, so that none overwrites what another counts."""

    def __init__(self) -> None:
        self._counts_WN = torch.zeros(_WORKERS, len(_COLUMNS), dtype=torch.int64).share_memory_()

    def add(self, what: Literal["joined", "unknown", "bad", "checked", "drifted"]) -> None:
        """Count one more, in this process."""
        worker = get_worker_info()
        row = 0 if worker is None else 1 + worker.id % (_WORKERS - 1)
        self._counts_WN[row, _COLUMNS[what]] += 1

    def total(self) -> JoinCounts:
        """Return the counts of all workers."""
        return JoinCounts(*self._counts_WN.sum(dim=0).tolist())
