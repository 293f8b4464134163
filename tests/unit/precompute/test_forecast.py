"""Sums over units, and seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.precompute.forecast import Rates, predicted_bytes, sizes_to_measure


@given(st.lists(st.integers(1, 4096), min_size=1))
def test_few_sizes_are_measured_the_extremes_among_them(num_rows: list[int]) -> None:
    sizes = sizes_to_measure(num_rows)
    assert len(sizes) == min(4, len(set(num_rows)))
    assert (sizes[0], sizes[-1]) == (min(num_rows), max(num_rows))
    assert set(sizes) <= set(num_rows)


@given(st.dictionaries(st.integers(1, 4096), st.integers(1, 100)))
def test_bytes_that_grow_with_the_rows_are_summed_exactly(counts: dict[int, int]) -> None:
    wanted = sum(count * (100 + 3 * rows) for rows, count in counts.items())
    assert predicted_bytes(counts, lambda rows: 100.0 + 3 * rows) == wanted


def _rates(**changes: object) -> Rates:
    fields = {"render": 50.0, "networks": {"a": 10.0, "b": 40.0}, "readers": 4, "workers": 1, "devices": 1}
    return Rates(**{**fields, "overlaps": False, **changes})  # type: ignore[arg-type]


def test_parts_that_share_cores_add_up() -> None:
    seconds = _rates().seconds({"a": 100, "b": 200}, rendered=400)
    assert (seconds.teachers, seconds.rendering, seconds.run) == (15.0, 2.0, 17.0)


def test_beside_an_accelerator_the_slower_part_decides() -> None:
    assert _rates(overlaps=True).seconds({"a": 100}, rendered=400).run == 10.0
    assert _rates(overlaps=True).seconds({"a": 100}, rendered=4000).run == 20.0


def test_workers_share_the_rendering_and_devices_the_teaching() -> None:
    seconds = _rates(overlaps=True, workers=4, devices=2).seconds({"a": 100}, rendered=400)
    assert seconds.teachers == pytest.approx(5.0)
    assert seconds.rendering == pytest.approx(0.5)
