"""Random orders that depend on their arguments alone."""

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
