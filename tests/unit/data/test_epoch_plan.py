"""Properties of the order of a pass, for any data, batch size, lanes, views per decode, ranks and workers."""

import itertools
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.data.cells import Cells, CellSource, RowCells
from kdcache.data.epoch_plan import EpochPlan, MicroBatch, PlanSettings, choose_seed, seed_runs
from kdcache.errors import ConfigError

Place = tuple[int, int, int]


class PairCells:
    """Pairs (0, 1), (2, 3) ... of each block, and an odd last row: as a policy that mixes would have them."""

    cell_size = 2

    def __init__(self, rows: dict[int, int]) -> None:
        self.rows = rows

    def counts(self, block: int, aug_seed: int) -> tuple[int, int]:
        return divmod(self.rows[block], 2)

    def cells(self, block: int, aug_seed: int) -> Cells:
        rows = np.arange(self.rows[block], dtype=np.int64)
        return Cells(rows[: len(rows) // 2 * 2].reshape(-1, 2), rows[len(rows) // 2 * 2 :])


@dataclass(frozen=True)
class Case:
    """A small data set and how it is gone through."""

    rows: dict[int, int]
    seeds: dict[int, tuple[int, ...]]
    settings: PlanSettings
    pairs: bool

    def plan(self, epoch: int = 0) -> EpochPlan:
        cells: CellSource = PairCells(self.rows)
        if not self.pairs:
            cells = RowCells({block: np.arange(count, dtype=np.int64) for block, count in self.rows.items()})
        return EpochPlan(self.seeds, cells, self.settings, epoch=epoch)


@st.composite
def cases(draw: st.DrawFn, *, drop_last: bool | None = None) -> Case:
    rows = dict(enumerate(draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))))
    pairs, views = draw(st.booleans()), draw(st.sampled_from([1, 2, 4]))
    seeds = {block: tuple(range(4 * draw(st.integers(1, 3)))) for block in rows}
    settings = PlanSettings(
        run_seed=draw(st.integers(0, 2**32)),
        batch_size=(2 if pairs else 1) * views * draw(st.integers(1, 6)),
        lanes=draw(st.integers(1, 9)),
        shuffle_window=draw(st.integers(1, 64)),
        views_per_decode=views,
        drop_last=draw(st.booleans()) if drop_last is None else drop_last,
    )
    return Case(rows, seeds, settings, pairs)


def places(batch: MicroBatch) -> list[Place]:
    return list(zip(batch.blocks_B.tolist(), batch.rows_B.tolist(), batch.aug_seeds_B.tolist(), strict=True))


def order(plan: EpochPlan, numbers: range | None = None) -> list[Place]:
    return [place for number in numbers or range(plan.num_batches) for place in places(plan.batch(number))]


@given(case=cases(), epoch=st.integers(0, 30))
def test_each_view_comes_at_most_once_a_pass(case: Case, epoch: int) -> None:
    seen = order(case.plan(epoch))
    assert len(set(seen)) == len(seen)
    views = Counter((block, row) for block, row, _ in seen)
    assert set(views.values()) <= {case.settings.views_per_decode}
    assert all(row < case.rows[block] for block, row in views)


@given(case=cases(drop_last=True))
def test_less_than_one_micro_batch_is_dropped(case: Case) -> None:
    plan, size = case.plan(), case.settings.batch_size
    total = sum(case.rows.values()) * case.settings.views_per_decode
    assert [len(plan.batch(number)) for number in range(plan.num_batches)] == [size] * (total // size)


@given(case=cases(drop_last=False))
def test_nothing_is_dropped_where_the_last_may_be_small(case: Case) -> None:
    plan = case.plan()
    seen = {(block, row) for block, row, _ in order(plan)}
    assert seen == {(block, row) for block, count in case.rows.items() for row in range(count)}
    assert all(len(plan.batch(n)) == case.settings.batch_size for n in range(plan.num_batches - 1))


@given(case=cases(), world=st.integers(1, 5), start=st.integers(0, 6), workers=st.integers(1, 4))
def test_ranks_and_workers_share_one_order_in_equal_steps(
    case: Case, world: int, start: int, workers: int
) -> None:
    whole = order(case.plan())
    steps = case.plan().batches_per_rank(world)
    turns = [range(rank + start * world, steps * world, world) for rank in range(world)]
    assert len({len(range(rank, steps * world, world)) for rank in range(world)}) == 1
    by_number: dict[int, list[Place]] = {}
    for rank in range(world):
        for worker in range(workers):  # each has a plan of its own, and asks for its micro-batches only
            plan = case.plan()
            by_number |= {number: places(plan.batch(number)) for number in turns[rank][worker::workers]}
    resumed = [place for number in sorted(by_number) for place in by_number[number]]
    size = case.settings.batch_size
    assert resumed == whole[start * world * size : steps * world * size]


@given(case=cases())
def test_lanes_take_turns_and_are_disjoint(case: Case) -> None:
    plan = case.plan()
    windows_of: dict[int, set[int]] = defaultdict(set)
    window_of = {block: number for number, window in enumerate(plan._windows) for block in window}
    for number in range(plan._turns):
        windows_of[number % plan.num_lanes] |= {
            window_of[block] for block, _, _ in places(plan.batch(number))
        }
    spans = [(min(windows), max(windows)) for _, windows in sorted(windows_of.items())]
    # Neighbours share one window at most: its last or first.
    assert all(last <= first for (_, last), (first, _) in itertools.pairwise(spans))


@given(case=cases(), readers=st.integers(1, 12), reads_ahead=st.booleans())
def test_a_reader_that_keeps_its_blocks_reads_each_once(case: Case, readers: int, reads_ahead: bool) -> None:
    plan = case.plan()
    for reader in range(readers):
        kept: dict[int, None] = {}
        reads: Counter[int] = Counter()
        for number in range(reader, plan._turns, readers):
            for block in dict.fromkeys(plan.batch(number).blocks_B.tolist()):
                reads[block] += block not in kept
                kept.pop(block, None)
                kept[block] = None
                while len(kept) > plan.blocks_open(readers, reads_ahead=reads_ahead):
                    kept.pop(next(iter(kept)))
        lanes_served = plan.num_lanes // readers if plan.num_lanes % readers == 0 else plan.num_lanes
        assert all(count <= 1 + (lanes_served > 1) for count in reads.values())


@given(case=cases())
def test_the_units_of_a_micro_batch_can_be_named_without_reading_it(case: Case) -> None:
    plan = case.plan()
    plan._cells = None  # type: ignore[assignment]
    named = {number: set(plan.units(number)) for number in range(plan.num_batches)}
    # singles that no pair is left for may come from anywhere
    for number in range(plan._turns if case.pairs else plan.num_batches):
        assert {(block, seed) for block, _, seed in places(case.plan().batch(number))} <= named[number]
    windows = [set(window) for window in plan._windows]
    for number in range(plan._turns):
        blocks = {block for block, _ in named[number]}
        assert sum(bool(window & blocks) for window in windows if window) <= case.settings.batch_size + 1


@given(case=cases())
def test_cells_are_never_split(case: Case) -> None:
    plan, views = case.plan(), case.settings.views_per_decode
    for number in range(plan.num_batches):
        batch = places(plan.batch(number))
        for block, row, seed in batch:
            first = seed // views * views
            rows = (
                [row] if not case.pairs or (row == case.rows[block] - 1 and row % 2 == 0) else [row, row ^ 1]
            )
            assert {(block, r, s) for r in rows for s in range(first, first + views)} <= set(batch)


@given(case=cases())
def test_views_of_a_sample_stand_side_by_side(case: Case) -> None:
    views = case.settings.views_per_decode
    seen = order(case.plan())
    for first in range(0, len(seen), views):
        (block, row, seed), run = seen[first], seen[first : first + views]
        assert seed % views == 0
        assert run == [(block, row, seed + step) for step in range(views)]


@given(case=cases(drop_last=False), cycle=st.integers(0, 3))
def test_every_seed_is_used_once_before_any_comes_again(case: Case, cycle: int) -> None:
    views = case.settings.views_per_decode
    for block, seeds in case.seeds.items():
        epochs = range(cycle * len(seeds) // views, (cycle + 1) * len(seeds) // views)
        used = [case.plan(epoch).aug_seeds[block] for epoch in epochs]
        assert sorted(used) == list(range(0, len(seeds), views))


@given(seeds=st.sets(st.integers(0, 30)), views=st.sampled_from([1, 2, 4]))
def test_a_run_of_seeds_is_whole_and_aligned(seeds: set[int], views: int) -> None:
    runs = seed_runs(sorted(seeds), views)
    assert all(run % views == 0 and seeds.issuperset(range(run, run + views)) for run in runs)
    assert views > 1 or set(runs) == seeds


def test_epochs_and_run_seeds_give_other_orders() -> None:
    def orders(run_seed: int, epoch: int) -> list[Place]:
        case = Case(
            {0: 20, 1: 20}, {0: (0,), 1: (0,)}, PlanSettings(run_seed, 4, shuffle_window=8), pairs=False
        )
        return order(case.plan(epoch))

    assert orders(0, 0) == orders(0, 0)
    assert len({tuple(orders(run_seed, epoch)) for run_seed in range(3) for epoch in range(3)}) == 9


def test_the_order_of_a_run_is_pinned() -> None:
    case = Case(
        {0: 5, 1: 5, 2: 3}, dict.fromkeys(range(3), (0, 1)), PlanSettings(7, 4, shuffle_window=4), pairs=False
    )
    assert order(case.plan(1)) == PINNED


PINNED: list[Place] = [
    *[(2, 1, 0), (2, 2, 0), (1, 1, 1), (1, 3, 1)],
    *[(0, 2, 1), (0, 4, 1), (0, 3, 1), (0, 0, 1)],
    *[(1, 4, 1), (1, 0, 1), (2, 0, 0), (1, 2, 1)],
]


def test_singles_are_not_dropped_in_every_pass() -> None:
    rows = dict.fromkeys(range(6), 5)
    case = Case(rows, dict.fromkeys(rows, (0,)), PlanSettings(0, 8), pairs=True)
    seen = {(block, row) for epoch in range(40) for block, row, _ in order(case.plan(epoch))}
    assert len(seen) == 30


def test_blocks_without_a_whole_run_are_left_out() -> None:
    cells = RowCells({0: np.arange(4), 1: np.arange(4)})
    plan = EpochPlan({0: (0, 1), 1: (1, 2)}, cells, PlanSettings(0, 4, views_per_decode=2), epoch=0)
    assert set(plan.aug_seeds) == {0}


def test_no_blocks_make_no_batches() -> None:
    assert EpochPlan({}, RowCells({}), PlanSettings(0, 4), epoch=0).num_batches == 0


@pytest.mark.parametrize(
    ("pairs", "views", "size", "message"),
    [
        (
            True,
            1,
            7,
            "batch size 7: the cache's policy mixes pairs, which stay together; choose an even batch size",
        ),
        (False, 4, 6, "batch size 6: 4 views of a sample stay together; choose a multiple of 4"),
        (True, 2, 6, "stay together, and 2 views of a sample stay together; choose a multiple of 4"),
    ],
)
def test_batches_that_would_split_cells_are_refused(pairs: bool, views: int, size: int, message: str) -> None:
    case = Case({0: 9}, {0: (0, 1, 2, 3)}, PlanSettings(0, size, views_per_decode=views), pairs=pairs)
    with pytest.raises(ConfigError, match=message):
        case.plan()


def test_seeds_are_chosen_anew_in_every_cycle_and_block() -> None:
    chosen = [
        tuple(choose_seed(range(8), run_seed=0, epoch=8 * cycle + i, block=block) for i in range(8))
        for cycle in range(3)
        for block in range(3)
    ]
    assert len(set(chosen)) == 9


def test_an_epoch_of_imagenet_is_planned_in_a_moment() -> None:
    rows = dict.fromkeys(range(1252), 1024)
    case = Case(rows, dict.fromkeys(rows, tuple(range(48))), PlanSettings(0, 256), pairs=False)
    start = time.process_time()
    plan = case.plan(3)
    batch = plan.batch(plan.num_batches // 2)
    assert time.process_time() - start < 1.0
    assert (len(batch), plan.num_batches, plan.num_lanes) == (256, 5008, 48)
