"""A number moves from one value to another over a run."""

import pytest

from kdcache.train.ramp import Ramp


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_it_goes_from_start_to_end(shape: str) -> None:
    ramp = Ramp(4.0, 1.0, shape)  # type: ignore[arg-type]
    values = [ramp.at(step / 10) for step in range(11)]
    assert [values[0], values[5], values[-1]] == pytest.approx([4.0, 2.5, 1.0])
    assert values == sorted(values, reverse=True)
    assert ramp.ends == (4.0, 1.0)


def test_a_cosine_begins_and_ends_slowly() -> None:
    assert Ramp(0.0, 1.0, "cosine").at(0.1) < 0.1 < Ramp(0.0, 1.0).at(0.2)


def test_one_value_is_exactly_that_value() -> None:
    assert Ramp(0.3, 0.3).at(0.7) == 0.3
    assert Ramp(0.3, 0.3).ends == (0.3,)
    assert Ramp(0.0, 0.0).is_zero
    assert not Ramp(0.0, 1.0).is_zero
