"""Reverse KL and Jensen-Shannon: what makes them what they are."""

import math

import numpy as np
import pytest
import torch

from kdcache.errors import ConfigError
from kdcache.logits import all_classes, top_k
from kdcache.losses.distill import kl
from kdcache.losses.divergences import jsd, reverse_kl
from kdcache.losses.targets import TeacherTargets


def _normal(seed: int, scale: float = 3.0) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(seed)).normal(size=(8, 50)) * scale).astype(np.float32)


def test_reverse_kl_is_kl_with_the_roles_exchanged() -> None:
    student, teacher = _normal(1), _normal(2)
    torch.testing.assert_close(
        reverse_kl(
            torch.from_numpy(student), TeacherTargets.from_numpy(all_classes(teacher)), temperature=2.0
        ),
        kl(torch.from_numpy(teacher), TeacherTargets.from_numpy(all_classes(student)), temperature=2.0),
    )


@pytest.mark.parametrize("beta", [0.5, 0.2])
def test_jsd_is_symmetrical_when_its_weights_are_exchanged_too(beta: float) -> None:
    student, teacher = _normal(1), _normal(2)
    torch.testing.assert_close(
        jsd(torch.from_numpy(student), TeacherTargets.from_numpy(all_classes(teacher)), beta=beta),
        jsd(torch.from_numpy(teacher), TeacherTargets.from_numpy(all_classes(student)), beta=1.0 - beta),
    )


def test_jsd_is_at_most_the_logarithm_of_two() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2, scale=40.0), 6))
    value = jsd(torch.from_numpy(_normal(1, scale=40.0)), targets).item()
    assert 0.5 * math.log(2.0) < value < math.log(2.0)


def test_near_beta_0_jsd_is_beta_times_kl() -> None:
    student_BC, targets = (
        torch.from_numpy(_normal(1, 0.5)),
        TeacherTargets.from_numpy(top_k(_normal(2, 0.5), 6)),
    )
    torch.testing.assert_close(
        jsd(student_BC, targets, beta=1e-3) / 1e-3, kl(student_BC, targets), rtol=1e-2, atol=0
    )


def test_the_bucket_never_exceeds_the_dense_divergence() -> None:
    student_BC, dense = torch.from_numpy(_normal(1)), TeacherTargets.from_numpy(all_classes(_normal(2)))
    for loss in (reverse_kl, jsd):
        values = [
            loss(student_BC, TeacherTargets.from_numpy(top_k(_normal(2), k))).item() for k in (1, 5, 30)
        ]
        assert values == sorted(values)
        assert values[-1] <= loss(student_BC, dense).item() + 1e-6


def test_both_are_zero_where_student_and_teacher_agree() -> None:
    for targets in (all_classes(_normal(2)), top_k(_normal(2), 6)):
        for loss in (reverse_kl, jsd):
            value = loss(torch.from_numpy(_normal(2)), TeacherTargets.from_numpy(targets))
            torch.testing.assert_close(value, torch.tensor(0.0), rtol=0, atol=1e-6)


def test_mass_where_the_teacher_has_none_costs_126_binary_digits() -> None:
    teacher_BC = np.array([[0.0, -np.inf]], dtype=np.float32)
    student_BC = torch.zeros(1, 2, requires_grad=True)
    value = reverse_kl(student_BC, TeacherTargets.from_numpy(all_classes(teacher_BC)))
    value.backward()
    assert value.item() == pytest.approx(126 * 0.5 * math.log(2.0) - math.log(2.0))
    assert student_BC.grad is not None
    assert student_BC.grad[0, 1] > 0


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_a_weight_that_leaves_nothing_to_compare_is_refused(beta: float) -> None:
    with pytest.raises(
        ConfigError, match=r"beta .* of distill loss 'jsd': expected a number between 0 and 1"
    ):
        jsd(torch.zeros(8, 50), TeacherTargets.from_numpy(top_k(_normal(2), 6)), beta=beta)
