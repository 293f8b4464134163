"""The tail's log-odds at each row's own temperature, against all logits in float64."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcache.logits import all_classes, top_k
from kdcache.losses.tail_curve import tail_log_odds_by_row
from kdcache.losses.targets import TeacherTargets
from tests.unit.losses.conftest import Real


def _exact(logits_BC: Tensor, k: int, temperature: float) -> Tensor:
    sorted_BC = logits_BC.double().sort(dim=1, descending=True).values / temperature
    return sorted_BC[:, k:].logsumexp(dim=1) - sorted_BC[:, :k].logsumexp(dim=1)


def _found(targets: TeacherTargets, temperature: float) -> Tensor:
    return tail_log_odds_by_row(targets, torch.full((len(targets),), temperature)).double()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_at_the_stored_temperatures_it_is_what_is_stored(temperature: float, real: Real) -> None:
    torch.testing.assert_close(
        _found(real.cached, temperature), real.cached.tail_log_odds(temperature).double(), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize(
    ("temperature", "bound"),
    [(0.5, 0.7), (0.7, 0.2), (0.9, 0.05), (1.3, 0.05), (1.7, 0.03), (3.0, 0.02), (5.0, 0.01), (50.0, 0.01)],
)
def test_elsewhere_it_is_close_to_what_all_logits_say(
    temperature: float, bound: float, imagenet: Real
) -> None:
    error_B = _found(imagenet.cached, temperature) - _exact(imagenet.teacher_BC, imagenet.kept, temperature)
    assert error_B.abs().max() < bound


@pytest.mark.parametrize("temperature", [1.3, 1.7, 3.0])
def test_between_the_stored_temperatures_it_is_ten_times_as_close_as_a_straight_line(
    temperature: float, imagenet: Real
) -> None:
    wanted_B = _exact(imagenet.teacher_BC, imagenet.kept, temperature)
    line_B = imagenet.exact.tail_log_odds(temperature).double()
    error = (_found(imagenet.exact, temperature) - wanted_B).abs().mean()
    assert error < 0.1 * (line_B - wanted_B).abs().mean()


def test_towards_infinite_temperature_it_is_the_ratio_of_the_numbers_of_classes(real: Real) -> None:
    ratio = (real.teacher_BC.shape[1] - real.kept) / real.kept
    torch.testing.assert_close(
        _found(real.cached, 1e6), torch.full((len(real.cached),), ratio).log().double(), rtol=0, atol=1e-4
    )


def test_towards_zero_temperature_the_tail_vanishes(real: Real) -> None:
    colder = [_found(real.cached, temperature) for temperature in (0.5, 0.2, 0.1, 0.01)]
    for warm_B, cold_B in itertools.pairwise(colder):
        assert (cold_B < warm_B).all()


def test_it_has_no_jump_where_the_pieces_meet(real: Real) -> None:
    for temperature in (1.0, 4.0):
        near = [_found(real.cached, temperature * factor) for factor in (0.9999, 1.0001)]
        assert (near[0] - near[1]).abs().max() < 5e-3


def test_each_row_has_its_own_temperature(imagenet: Real) -> None:
    temperatures = [0.8, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0, 30.0][: len(imagenet.cached)]
    found_B = tail_log_odds_by_row(imagenet.cached, torch.tensor(temperatures)).double()
    for row, temperature in enumerate(temperatures):
        assert found_B[row] == pytest.approx(float(_found(imagenet.cached, temperature)[row]), abs=1e-5)


def test_rows_without_a_tail_or_without_targets_have_none() -> None:
    logits_BC = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, -np.inf], [2.0, -np.inf, -np.inf]], dtype=np.float32)
    found_B = tail_log_odds_by_row(TeacherTargets.from_numpy(top_k(logits_BC, 2)), torch.full((3,), 1.5))
    assert torch.isfinite(found_B[0])
    assert found_B[1:].tolist() == [-torch.inf, -torch.inf]
    dense = TeacherTargets.from_numpy(all_classes(logits_BC))
    assert tail_log_odds_by_row(dense, torch.full((3,), 1.5)).tolist() == [-torch.inf] * 3
