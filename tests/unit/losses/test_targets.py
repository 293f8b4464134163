"""TeacherTargets says the same as TopKLogits, in log space."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.losses.targets import TeacherTargets
from tests.unit.losses.conftest import Real

TEMPERATURES = (0.7, 1.0, 1.3, 2.0, 3.1, 4.0, 20.0)


def _logits(rows: int = 6, classes: int = 20, scale: float = 4.0) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(7)).normal(size=(rows, classes)) * scale).astype(np.float32)


def _without_row(cut: TopKLogits, row: int) -> TopKLogits:
    top1_N = cut.top1_N.copy()
    top1_N[row] = np.nan
    return dataclasses.replace(cut, top1_N=top1_N)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_kept_and_tail_probabilities_agree_with_the_numpy_form(temperature: float) -> None:
    cut = top_k(_logits(), 5)
    targets = TeacherTargets.from_numpy(cut)
    np.testing.assert_allclose(
        targets.kept_log_probs(temperature).exp(), cut.kept_probs_NK(temperature), rtol=2e-5
    )
    np.testing.assert_allclose(
        targets.tail_log_mass(temperature).exp(), cut.tail_mass_N(temperature), rtol=2e-5, atol=1e-7
    )


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_kept_and_tail_probabilities_sum_to_one(temperature: float) -> None:
    targets = TeacherTargets.from_numpy(top_k(_logits(), 5))
    total_B = targets.kept_log_probs(temperature).exp().sum(dim=1) + targets.tail_log_mass(temperature).exp()
    torch.testing.assert_close(total_B, torch.ones(6))


def test_a_tail_too_small_for_float32_probabilities_keeps_its_logarithm() -> None:
    logits_NC = np.array([[60.0, 0.0, 0.0]], dtype=np.float32)
    targets = TeacherTargets.from_numpy(top_k(logits_NC, 1))
    torch.testing.assert_close(targets.tail_log_mass(1.0), torch.tensor([np.log(2.0) - 60.0]).float())


def test_dense_targets_take_any_temperature() -> None:
    targets = TeacherTargets.from_numpy(all_classes(_logits()))
    expected_BC = torch.log_softmax(torch.from_numpy(_logits()) / 9.0, dim=1)
    torch.testing.assert_close(targets.kept_log_probs(9.0), expected_BC)
    torch.testing.assert_close(targets.kept_mass(9.0), torch.ones(6))


def _exact(logits_BC: Tensor, k: int, temperature: float) -> Tensor:
    sorted_BC = logits_BC.double().sort(dim=1, descending=True).values / temperature
    return sorted_BC[:, k:].logsumexp(dim=1) - sorted_BC[:, :k].logsumexp(dim=1)


def _found(targets: TeacherTargets, temperature: float) -> Tensor:
    return targets.tail_log_odds(temperature).double()


def test_at_a_temperature_of_1_the_tail_is_what_is_stored(real: Real) -> None:
    torch.testing.assert_close(
        _found(real.cached, 1.0), real.cached.tail_B5[:, 1].double(), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize(
    ("temperature", "bound"),
    [(0.5, 0.7), (0.7, 0.2), (0.9, 0.03), (1.0, 0.01), (1.3, 0.02), (2.0, 0.015), (4.0, 0.01), (50.0, 0.001)],
)
def test_the_tail_is_close_to_what_all_logits_say(temperature: float, bound: float, imagenet: Real) -> None:
    error_B = _found(imagenet.cached, temperature) - _exact(imagenet.teacher_BC, imagenet.kept, temperature)
    assert error_B.abs().max() < bound


def test_towards_infinite_temperature_the_tail_is_the_ratio_of_the_numbers_of_classes(real: Real) -> None:
    ratio = (real.teacher_BC.shape[1] - real.kept) / real.kept
    torch.testing.assert_close(
        _found(real.cached, 1e6), torch.full((len(real.cached),), ratio).log().double(), rtol=0, atol=1e-4
    )


def test_towards_zero_temperature_the_tail_vanishes(real: Real) -> None:
    colder = [_found(real.cached, temperature) for temperature in (0.5, 0.2, 0.1, 0.01)]
    for warm_B, cold_B in itertools.pairwise(colder):
        assert (cold_B < warm_B).all()


def test_the_tail_has_no_jump_at_a_temperature_of_1(real: Real) -> None:
    near = [_found(real.cached, factor) for factor in (0.9999, 1.0001)]
    assert (near[0] - near[1]).abs().max() < 5e-3


def test_each_row_may_have_its_own_temperature(imagenet: Real) -> None:
    temperatures = [0.8, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0, 30.0][: len(imagenet.cached)]
    found_B = imagenet.cached.tail_log_odds(torch.tensor(temperatures)).double()
    for row, temperature in enumerate(temperatures):
        assert found_B[row] == pytest.approx(float(_found(imagenet.cached, temperature)[row]), abs=1e-5)


def test_rows_without_a_tail_or_without_targets_have_none() -> None:
    logits_BC = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, -np.inf], [2.0, -np.inf, -np.inf]], dtype=np.float32)
    found_B = _found(TeacherTargets.from_numpy(top_k(logits_BC, 2)), 1.5)
    assert torch.isfinite(found_B[0])
    assert found_B[1:].tolist() == [-torch.inf, -torch.inf]
    dense = TeacherTargets.from_numpy(all_classes(logits_BC))
    assert _found(dense, 1.5).tolist() == [-torch.inf] * 3


def test_classes_that_the_teacher_rules_out_are_not_of_the_tail() -> None:
    logits_BC = _logits()
    with_holes_BC = np.concatenate([logits_BC, np.full_like(logits_BC, -np.inf)], axis=1)
    found, wanted = (TeacherTargets.from_numpy(top_k(logits, 5)) for logits in (with_holes_BC, logits_BC))
    for temperature in TEMPERATURES:
        torch.testing.assert_close(
            _found(found, temperature), _found(wanted, temperature), rtol=1e-6, atol=1e-6
        )


def test_rows_without_targets_are_told_apart_and_hold_no_nan() -> None:
    targets = TeacherTargets.from_numpy(_without_row(top_k(_logits(), 5), 2))
    assert targets.valid_B.tolist() == [True, True, False, True, True, True]
    assert targets.top_class_B[2] == -1
    assert torch.isfinite(targets.kept_log_probs(2.0)).all()


def test_the_top_class_is_the_same_whether_all_classes_are_kept_or_few() -> None:
    logits_NC = np.round(_logits())  # many ties
    best_B = TeacherTargets.from_numpy(top_k(logits_NC, 3)).top_class_B
    torch.testing.assert_close(TeacherTargets.from_numpy(all_classes(logits_NC)).top_class_B, best_B)


def test_parts_join_to_the_whole() -> None:
    cut = top_k(_logits(), 5)
    whole = TeacherTargets.from_numpy(cut)
    joined = TeacherTargets.cat(
        [TeacherTargets.from_numpy(cut.take(rows)) for rows in ([0, 1], [2, 3, 4, 5])]
    )
    for field in dataclasses.fields(TeacherTargets):
        assert torch.equal(
            torch.as_tensor(getattr(joined, field.name)), torch.as_tensor(getattr(whole, field.name))
        )


def test_taking_rows_and_moving_keep_what_a_row_says() -> None:
    targets = TeacherTargets.from_numpy(top_k(_logits(), 5)).to("cpu")
    few = targets.take(torch.tensor([4, 1]))
    assert len(few) == 2
    torch.testing.assert_close(few.kept_log_probs(2.0), targets.kept_log_probs(2.0)[[4, 1]])


def test_parts_of_dense_targets_join_without_class_ids() -> None:
    part = TeacherTargets.from_numpy(all_classes(_logits()))
    assert TeacherTargets.cat([part, part]).class_ids_BK is None
