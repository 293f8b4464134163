"""Random orders that depend on their arguments alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdcache.data.orders import Purpose, permutation


@given(size=st.integers(0, 200), numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3))
def test_a_permutation_holds_everything_once(size: int, numbers: list[int]) -> None:
    assert sorted(permutation(Purpose.CELLS, size, *numbers).tolist()) == list(range(size))


def test_purpose_and_numbers_make_the_order() -> None:
    orders = {tuple(permutation(p, 50, seed, epoch)) for p in Purpose for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4 * len(Purpose)


def test_an_order_is_pinned() -> None:
    assert permutation(Purpose.BLOCKS, 8, 7, 1).tolist() == [4, 3, 6, 2, 1, 5, 0, 7]


def test_two_numbers_do_not_stand_for_each_other() -> None:
    assert permutation(Purpose.CELLS, 20, 1, 2).tolist() != permutation(Purpose.CELLS, 20, 2, 1).tolist()


def test_every_item_comes_to_a_place_equally_often() -> None:
    counts_I = np.bincount([permutation(Purpose.BLOCKS, 8, run)[0] for run in range(1600)], minlength=8)
    assert abs(counts_I - 200).max() < 60  # four standard deviations are 53


def test_the_global_generator_is_left_alone() -> None:
    before = str(np.random.get_state(legacy=False))  # noqa: NPY002
    permutation(Purpose.CELLS, 50, 3)
    assert str(np.random.get_state(legacy=False)) == before  # noqa: NPY002
