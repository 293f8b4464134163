"""The order of one pass over the data: pure, and the same for any number of workers and ranks.

Blocks are shuffled and grouped into shuffle windows; the rows of a window are visited in random order. One
window after the other they make the pass, which is cut into equal lanes at micro-batch borders. Micro-batch m
comes from lane m mod L: so a worker that serves some of the lanes reads their blocks only (two neighbouring
lanes may share a window), and has only a few of them open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

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
    "seed_runs",
]

DEFAULT_LANES = 48
DEFAULT_SHUFFLE_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What decides the order of all passes of a run, beside the data.

    Attributes:
        run_seed: orders blocks, cells and seeds.
        batch_size: rows of a micro-batch; it must hold whole cells under every view of a decode.
        lanes: at most so many windows are open at a time.
        shuffle_window: samples that are shuffled among each other, at least; whole blocks are taken.
        views_per_decode: r, so many consecutive seeds of a sample come together; a pass is r times as long.
        drop_last: whether the rows that fill no micro-batch are left out of this pass.
    """

    run_seed: int
    batch_size: int
    lanes: int = DEFAULT_LANES
    shuffle_window: int = DEFAULT_SHUFFLE_WINDOW
    views_per_decode: int = 1
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

    @property
    def views_B3(self) -> Rows:
        """Block, row and augmentation seed of each view."""
        return np.stack([self.blocks_B, self.rows_B, self.aug_seeds_B], axis=1)


def seed_runs(seeds: Sequence[int], views_per_decode: int) -> tuple[int, ...]:
    """Return the first seed of every run of r consecutive seeds that starts at a multiple of r.

    >>> seed_runs([0, 1, 2, 3, 6, 7, 8], 2)
    (0, 2, 6)
    """
    known = set(seeds)
    return tuple(
        seed
        for seed in sorted(known)
        if seed % views_per_decode == 0 and known.issuperset(range(seed, seed + views_per_decode))
    )


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
        num_lanes: L, the lanes in use.
        aug_seeds: the (first) augmentation seed of each block.
    """

    def __init__(
        self,
        seeds: Mapping[int, Sequence[int]],
        cells: CellSource,
        settings: PlanSettings,
        *,
        epoch: int,
    ) -> None:
        """Plan epoch ``epoch`` over the blocks of ``seeds``, each under some of the seeds given for it.

        Raises:
            ConfigError: micro-batches cannot hold whole cells.
        """
        self._cells, self._settings, self._epoch = cells, settings, epoch
        self._cell_rows = _rows_of_a_cell(cells, settings)
        self.aug_seeds = {
            block: choose_seed(runs, run_seed=settings.run_seed, epoch=epoch, block=block)
            for block in sorted(seeds)
            if (runs := seed_runs(seeds[block], settings.views_per_decode))
        }
        self._windows, counts_W2 = self._make_windows()
        self._has_odd_single = counts_W2[:, 1] % 2 == 1
        self._starts = np.concatenate([[0], np.cumsum(counts_W2[:, 0] + counts_W2[:, 1] // 2)])
        self._cells_per_batch = settings.batch_size // self._cell_rows
        self.num_lanes = max(1, min(settings.lanes, len(self._windows)))
        self._turns = int(self._starts[-1]) // self._cells_per_batch
        self.num_batches = self._turns + self._num_leftover_batches()
        self._window_cells = lru_cache(maxsize=2 * self.num_lanes)(self._shuffled_window)
        self._leftover_rows = lru_cache(maxsize=1)(self._collect_leftovers)

    def batches_per_rank(self, world: int) -> int:
        """Return the steps of each rank: equal, so up to world - 1 micro-batches are left out."""
        return self.num_batches // world

    def blocks_open(self, readers: int, *, reads_ahead: bool = True) -> int:
        """Return how many blocks one of ``readers`` processes should keep at hand to read each only once.

        Those are the blocks of the last window of each lane, of this one and of the next, if that is read ahead.
        """
        served = self.num_lanes // readers if self.num_lanes % readers == 0 else self.num_lanes
        return (2 + reads_ahead) * served * max((len(window) for window in self._windows), default=1)

    def batch(self, number: int) -> MicroBatch:
        """Return micro-batch ``number`` in [0, num_batches)."""
        if number >= self._turns:
            first = (number - self._turns) * self._settings.batch_size
            return _as_batch(self._leftover_rows()[first : first + self._settings.batch_size])
        turn, lane = divmod(number, self.num_lanes)
        first = (self._first_turn(lane) + turn) * self._cells_per_batch
        return _as_batch(self._cells_from(first, self._cells_per_batch).reshape(-1, 3))

    def units(self, number: int) -> tuple[tuple[int, int], ...]:
        """Return every (block, aug_seed) that micro-batch ``number`` may need, without reading anything."""
        turn, lane = divmod(min(number, self._turns), self.num_lanes)
        first = (self._first_turn(lane) + turn) * self._cells_per_batch
        last = first + self._cells_per_batch - 1
        if number >= self._turns:
            first, last = self._turns * self._cells_per_batch, int(self._starts[-1]) - 1
        windows = np.searchsorted(self._starts, [first, last], side="right") - 1
        blocks = [block for window in self._windows[windows[0] : windows[1] + 1] for block in window]
        return tuple(
            (block, self.aug_seeds[block] + view)
            for block in blocks
            for view in range(self._settings.views_per_decode)
        )

    def _first_turn(self, lane: int) -> int:
        """Return where a lane starts: the turns are dealt evenly, and the first lanes take one more."""
        each, more = divmod(self._turns, self.num_lanes)
        return lane * each + min(lane, more)

    def _make_windows(self) -> tuple[list[list[int]], Rows]:
        """Group shuffled blocks into windows; return them with the (main cells, singles) of each, int64 (W, 2)."""
        blocks = np.array(list(self.aug_seeds), dtype=np.int64)
        order = permutation(Purpose.BLOCKS, len(blocks), self._settings.run_seed, self._epoch)
        windows: list[list[int]] = []
        counts: list[list[int]] = []
        for block in blocks[order].tolist():
            main, singles = self._cells.counts(block, self.aug_seeds[block])
            if not windows or counts[-1][0] * self._cells.cell_size >= self._settings.shuffle_window:
                windows.append([])
                counts.append([0, 0])
            windows[-1].append(block)
            counts[-1][0] += main
            counts[-1][1] += singles
        return windows, np.array(counts, dtype=np.int64).reshape(-1, 2)

    def _num_leftover_batches(self) -> int:
        size = self._settings.batch_size
        rest = int(self._starts[-1]) - self._turns * self._cells_per_batch
        rows = rest * self._cell_rows + int(self._has_odd_single.sum()) * self._settings.views_per_decode
        return rows // size if self._settings.drop_last else -(-rows // size)

    def _cells_from(self, first: int, count: int) -> Rows:
        """Return main cells [first, first + count) of the pass as (count, rows of a cell, 3)."""
        parts = [np.empty((0, self._cell_rows, 3), dtype=np.int64)]
        window = int(np.searchsorted(self._starts, first, side="right")) - 1
        while count > 0:
            inside = first - int(self._starts[window])
            part = self._window_cells(window)[inside : inside + count]
            parts.append(part)
            first, count, window = first + len(part), count - len(part), window + 1
        return np.concatenate(parts)

    def _shuffled_window(self, window: int) -> Rows:
        """Return the cells of a window in the order of training, as (N, rows of a cell, 3).

        Two singles share a cell as a pair does, although nothing mixes them.
        """
        seeds = self.aug_seeds
        main = [self._views(self._cells.cells(b, seeds[b]).main, b) for b in self._windows[window]]
        singles = self._singles(window)
        shared = singles[: len(singles) // 2 * 2].reshape(-1, self._cell_rows, 3)
        return self._shuffled(Purpose.CELLS, np.concatenate([*main, shared]), window)

    def _singles(self, window: int) -> Rows:
        """Return the views of a window's singles, as (S, r, 3)."""
        seeds = self.aug_seeds
        parts = [
            self._views(self._cells.cells(b, seeds[b]).singles[:, None], b)
            for b in self._windows[window]
            if self._cells.counts(b, seeds[b])[1]
        ]
        if not parts:
            return np.empty((0, self._settings.views_per_decode, 3), dtype=np.int64)
        # In random order: the odd one may fill no micro-batch, and must not be the same in every pass.
        return self._shuffled(Purpose.SINGLES, np.concatenate(parts), window)

    def _collect_leftovers(self) -> Rows:
        """Return the rows that no full micro-batch takes, pairs first, as (N, 3)."""
        first = self._turns * self._cells_per_batch
        main = self._cells_from(first, int(self._starts[-1]) - first)
        odd = [self._singles(window)[-1] for window in np.flatnonzero(self._has_odd_single).tolist()]
        return np.concatenate([main.reshape(-1, 3), *odd])

    def _shuffled(self, purpose: Purpose, cells: Rows, window: int) -> Rows:
        return cells[permutation(purpose, len(cells), self._settings.run_seed, self._epoch, window)]

    def _views(self, rows: Rows, block: int) -> Rows:
        """Return rows (N, cell size) as views, (N, cell size * r, 3): block, row and seed."""
        seeds = self.aug_seeds[block] + np.arange(self._settings.views_per_decode)
        views = np.empty((*rows.shape, len(seeds), 3), dtype=np.int64)
        views[..., 0], views[..., 1], views[..., 2] = block, rows[..., None], seeds
        return views.reshape(len(rows), rows.shape[1] * len(seeds), 3)


def _rows_of_a_cell(cells: CellSource, settings: PlanSettings) -> int:
    if settings.batch_size % (rows := cells.cell_size * settings.views_per_decode):
        pairs = "the cache's policy mixes pairs, which stay together" if cells.cell_size == 2 else ""
        views = f"{settings.views_per_decode} views of a sample stay together"
        reasons = [pairs] * bool(pairs) + [views] * (settings.views_per_decode > 1)
        what = "an even batch size" if rows == 2 else f"a multiple of {rows}"
        raise ConfigError(f"batch size {settings.batch_size}: {', and '.join(reasons)}; choose {what}")
    return rows


def _as_batch(rows_B3: Rows) -> MicroBatch:
    return MicroBatch(rows_B3[:, 0].copy(), rows_B3[:, 1].copy(), rows_B3[:, 2].copy())
