"""Which samples a pilot looks at, and how its rows fill chunks."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdcache.precompute.pilot_rows import RUN, chunk_rows, pilot_items

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(sum)


@given(COUNTS, st.integers(1, 200), st.integers(1, 12))
def test_a_pilot_looks_at_no_view_twice(counts: list[int], wanted: int, num_aug_seeds: int) -> None:
    items = pilot_items(counts, wanted, run=RUN, num_aug_seeds=num_aug_seeds)
    views = [(item.shard, n, seed) for item in items for n in item.samples for seed in item.aug_seeds]
    assert len(views) == len(set(views)) > 0
    assert all(n < counts[shard] and seed < num_aug_seeds for shard, n, seed in views)
    assert len(views) <= wanted + RUN


def test_runs_are_spread_over_the_data_and_the_seeds() -> None:
    items = pilot_items([1000, 600], 64, run=8, num_aug_seeds=4)
    assert [item.shard for item in items] == [0] * 5 + [1] * 3
    assert all(len(item.samples) == 8 and item.samples[0] % 8 == 0 for item in items)
    assert all(one.samples[0] < other.samples[0] for one, other in pairwise(items[:5]))
    assert [item.aug_seeds for item in items] == [(0,), (1,), (2,), (3,)] * 2


def test_of_few_samples_each_is_seen_under_several_seeds() -> None:
    items = pilot_items([10], 32, run=8, num_aug_seeds=50)
    assert [(len(item.samples), item.aug_seeds) for item in items] == [(8, (0, 1, 2)), (2, (3, 4, 5))]


def test_chunks_are_filled_run_by_run() -> None:
    rows = chunk_rows([range(8), range(8, 16), range(16, 24)], num_rows=12, num_chunks=1)
    assert rows.tolist() == [list(range(12))]


@given(st.integers(1, 60), st.integers(1, 4))
def test_a_pilot_that_is_too_small_is_drawn_from_again(num_rows: int, num_chunks: int) -> None:
    runs = [range(8), range(8, 13)]
    rows = chunk_rows(runs, num_rows=num_rows, num_chunks=num_chunks)
    assert rows.shape == (num_chunks, num_rows)
    assert set(rows.ravel().tolist()) <= set(range(13))
    assert np.array_equal(rows, chunk_rows(runs, num_rows=num_rows, num_chunks=num_chunks))
