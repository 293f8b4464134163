"""TeacherTargets says the same as TopKLogits, in log space."""

import dataclasses

import numpy as np
import pytest
import torch

from kdcache.errors import ConfigError
from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.losses.targets import TeacherTargets

TEMPERATURES = (1.0, 1.3, 2.0, 3.1, 4.0)


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


@pytest.mark.parametrize("temperature", [0.5, 4.5])
def test_a_temperature_at_which_the_tail_is_unknown_is_refused(temperature: float) -> None:
    targets = TeacherTargets.from_numpy(top_k(_logits(), 5))
    with pytest.raises(ConfigError, match=r"top 5 of 20 classes .* from T = 1 to 4 only.*dense8"):
        targets.kept_mass(temperature)


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
