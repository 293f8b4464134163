"""The order of one pass over the data: pure, and the same for any number of workers and ranks.

Blocks are shuffled and grouped into shuffle windows; windows are dealt to lanes; a lane walks through its
windows, the cells of each in random order. Micro-batches are taken from the lanes in turn, so a worker that
serves some of the lanes reads some of the blocks, and has only a few of them open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kdcache.data.cells import CellSource, Rows
from kdcache.data.orders import Purpose, permutation
from kdcache.errors import ConfigError

__all__ = [
    "DEFAULT_LANES",
    "DEFAULT_SHUFFLE_WINDOW",
    "EpochPlan",
    "MicroBatch",
    "PlanSettings",
    "choose_seed",
]

DEFAULT_LANES = 48
DEFAULT_SHUFFLE_WINDOW = 4096

_LEFTOVERS = -1


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What decides the order of all passes of a run, beside the data.

    Attributes:
        run_seed: orders blocks, cells and seeds.
        batch_size: rows of a micro-batch; even under a mixing policy.
        lanes: at most so many windows are open at a time.
        shuffle_window: samples that are shuffled among each other, at least; whole blocks are taken.
        drop_last: whether the rows that fill no micro-batch are left out of this pass.
    """

    run_seed: int
    batch_size: int
    lanes: int = DEFAULT_LANES
    shuffle_window: int = DEFAULT_SHUFFLE_WINDOW
    drop_last: bool = True


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One step of one rank: int64 (B,) block, row within the block, and augmentation seed of each view."""

    blocks_B: Rows
    rows_B: Rows
    aug_seeds_B: Rows

    def __len__(self) -> int:
        """Return B."""
        return len(self.blocks_B)


def choose_seed(seeds: Sequence[int], *, run_seed: int, epoch: int, block: int) -> int:
    """Return the augmentation seed of a block in an epoch.

    Every ``len(seeds)`` epochs each seed is used once, in a new random order for every block.
    """
    cycle, position = divmod(epoch, len(seeds))
    order = permutation(Purpose.SEEDS, len(seeds), run_seed, cycle, block)
    return seeds[int(order[position])]


class EpochPlan:
    """The micro-batches of one epoch.

    Attributes:
        num_batches: M, micro-batches of the pass over all ranks.
        aug_seeds: the augmentation seed of each block.
        blocks_open: how many blocks are in use at a time, at most: what readers should keep at hand.
    """

    def __init__(
        self,
        seeds: Mapping[int, Sequence[int]],
        cells: CellSource,
        settings: PlanSettings,
        *,
        epoch: int,
    ) -> None:
        if settings.batch_size % cells.cell_size:
            raise ConfigError(
                f"batch size {settings.batch_size}: the cache's policy mixes pairs, which stay together; "
                "choose an even batch size"
            )
        self._cells, self._settings, self._epoch = cells, settings, epoch
        self.aug_seeds = {
            block: choose_seed(seeds[block], run_seed=settings.run_seed, epoch=epoch, block=block)
            for block in sorted(seeds)
            if seeds[block]
        }
        self._windows, self._sizes = self._make_windows()
        self._num_lanes = max(1, min(settings.lanes, len(self._windows)))
        self._starts = [self._lane_starts(lane) for lane in range(self._num_lanes)]
        self._turns_M2 = self._take_turns()
        self.num_batches = len(self._turns_M2) + self._num_leftover_batches()
        widest = max((len(window) for window in self._windows), default=1)
        self.blocks_open = self._num_lanes * 2 * widest
        self._window_cells = lru_cache(maxsize=2 * self._num_lanes)(self._shuffled_window)
        self._leftover_rows = lru_cache(maxsize=1)(self._collect_leftovers)

    @property
    def num_lanes(self) -> int:
        """L, the lanes in use."""
        return self._num_lanes

    def batches_per_rank(self, world: int) -> int:
        """Return the steps of each rank: equal, so up to world - 1 micro-batches are left out."""
        return self.num_batches // world

    def batch(self, number: int) -> MicroBatch:
        """Return micro-batch ``number`` in [0, num_batches)."""
        size = self._settings.batch_size
        if number >= len(self._turns_M2):
            first = (number - len(self._turns_M2)) * size
            return _as_batch(self._leftover_rows()[first : first + size])
        lane, turn = self._turns_M2[number]
        per_batch = size // self._cells.cell_size
        return _as_batch(self._lane_cells(int(lane), int(turn) * per_batch, per_batch).reshape(-1, 3))

    def _make_windows(self) -> tuple[list[list[int]], list[int]]:
        """Group shuffled blocks into windows; return them with the main cells that each holds."""
        blocks = np.array(list(self.aug_seeds), dtype=np.int64)
        order = permutation(Purpose.BLOCKS, len(blocks), self._settings.run_seed, self._epoch)
        windows: list[list[int]] = []
        sizes: list[int] = []
        wanted = self._settings.shuffle_window // self._cells.cell_size
        for block in blocks[order].tolist():
            count = self._cells.counts(block, self.aug_seeds[block])[0]
            if not windows or sizes[-1] >= wanted:
                windows.append([])
                sizes.append(0)
            windows[-1].append(block)
            sizes[-1] += count
        return windows, sizes

    def _lane_starts(self, lane: int) -> NDArray[np.int64]:
        """Return where each window of a lane starts among the lane's main cells, and where the lane ends."""
        return np.concatenate([[0], np.cumsum(self._sizes[lane :: self._num_lanes])]).astype(np.int64)

    def _take_turns(self) -> NDArray[np.int64]:
        """Return (lane, number within the lane) of every full micro-batch, lanes in turn, int64 (M, 2)."""
        per_batch = self._settings.batch_size // self._cells.cell_size
        turns_L = [int(starts[-1]) // per_batch for starts in self._starts]
        lanes_M = np.repeat(np.arange(self._num_lanes), turns_L)
        numbers_M = np.concatenate([np.arange(count) for count in turns_L])
        return np.stack([lanes_M, numbers_M], axis=1)[np.lexsort((lanes_M, numbers_M))]

    def _num_leftover_batches(self) -> int:
        size = self._settings.batch_size
        singles = sum(self._cells.counts(block, seed)[1] for block, seed in self.aug_seeds.items())
        main = sum(int(starts[-1]) % (size // self._cells.cell_size) for starts in self._starts)
        rows = main * self._cells.cell_size + singles
        return rows // size if self._settings.drop_last else -(-rows // size)

    def _lane_cells(self, lane: int, first: int, count: int) -> Rows:
        """Return main cells [first, first + count) of a lane as (count, cell size, 3)."""
        starts, parts = self._starts[lane], []
        window = int(np.searchsorted(starts, first, side="right")) - 1
        while count > 0:
            inside = first - int(starts[window])
            part = self._window_cells(lane + window * self._num_lanes)[inside : inside + count]
            parts.append(part)
            first, count, window = first + len(part), count - len(part), window + 1
        return np.concatenate(parts)

    def _shuffled_window(self, window: int) -> Rows:
        """Return the main cells of a window in the order of training, as (N, cell size, 3)."""
        parts = [
            _labelled(self._cells.cells(block, self.aug_seeds[block]).main, block, self.aug_seeds[block])
            for block in self._windows[window]
        ]
        cells = np.concatenate(parts)
        return cells[permutation(Purpose.CELLS, len(cells), self._settings.run_seed, self._epoch, window)]

    def _collect_leftovers(self) -> Rows:
        """Return the rows that no full micro-batch of a lane takes, pairs first, as (N, 3)."""
        per_batch = self._settings.batch_size // self._cells.cell_size
        pairs = []
        for lane, starts in enumerate(self._starts):
            rest = int(starts[-1]) % per_batch
            if rest:
                pairs.append(self._lane_cells(lane, int(starts[-1]) - rest, rest).reshape(-1, 3))
        singles = [
            _labelled(self._cells.cells(block, seed).singles[:, None], block, seed).reshape(-1, 3)
            for block, seed in self.aug_seeds.items()
            if self._cells.counts(block, seed)[1]
        ]
        return np.concatenate([*pairs, *singles]) if pairs or singles else np.empty((0, 3), dtype=np.int64)


def _labelled(rows: Rows, block: int, aug_seed: int) -> Rows:
    """Return rows (N, cell size) with block and seed beside them, (N, cell size, 3)."""
    labelled = np.empty((*rows.shape, 3), dtype=np.int64)
    labelled[..., 0], labelled[..., 1], labelled[..., 2] = block, rows, aug_seed
    return labelled


def _as_batch(rows_B3: Rows) -> MicroBatch:
    return MicroBatch(rows_B3[:, 0].copy(), rows_B3[:, 1].copy(), rows_B3[:, 2].copy())
