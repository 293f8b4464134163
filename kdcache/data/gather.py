"""Rows of several blocks put together in the order of a micro-batch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdcache.data.epoch_plan import MicroBatch
from kdcache.logits import TopKLogits

__all__ = ["gather_features", "gather_targets"]

Float16 = NDArray[np.float16]
Ints = NDArray[np.intp]


def gather_targets(read: Callable[[int, int], TopKLogits], micro_batch: MicroBatch) -> TopKLogits:
    """Return the targets of a micro-batch's views; ``read`` gives those of a (block, aug_seed)."""
    units, places_B = _units(micro_batch)
    return _joined([read(block, aug_seed).take(rows) for block, aug_seed, rows in units]).take(places_B)


def gather_features(read: Callable[[int, int], Float16], micro_batch: MicroBatch) -> Float16:
    """Return the features (B, D) of a micro-batch's views; ``read`` gives those of a (block, aug_seed)."""
    units, places_B = _units(micro_batch)
    found_BD = np.concatenate([read(block, aug_seed)[rows] for block, aug_seed, rows in units])
    return found_BD[places_B]


def _units(micro_batch: MicroBatch) -> tuple[list[tuple[int, int, Ints]], Ints]:
    """Return the rows to take of each (block, aug_seed), and where among all of them each view then is."""
    num_seeds = int(micro_batch.aug_seeds_B.max(initial=0)) + 1
    # As one number a unit: comparing pairs takes ten times as long.
    numbers_U, unit_of_B = np.unique(
        micro_batch.blocks_B * num_seeds + micro_batch.aug_seeds_B, return_inverse=True
    )
    order = np.argsort(unit_of_B, kind="stable")
    bounds = np.searchsorted(unit_of_B[order], np.arange(len(numbers_U) + 1))
    units = [
        (*divmod(number, num_seeds), micro_batch.rows_B[order[bounds[u] : bounds[u + 1]]])
        for u, number in enumerate(numbers_U.tolist())
    ]
    return units, np.argsort(order, kind="stable")


def _joined(parts: list[TopKLogits]) -> TopKLogits:
    ids = [part.class_ids_NK for part in parts if part.class_ids_NK is not None]
    return TopKLogits(
        class_ids_NK=np.concatenate(ids) if ids else None,
        logits_NK=np.concatenate([part.logits_NK for part in parts]),
        top1_N=np.concatenate([part.top1_N for part in parts]),
        tail_N5=np.concatenate([part.tail_N5 for part in parts]),
        num_classes=parts[0].num_classes,
    )
