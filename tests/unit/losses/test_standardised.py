"""Standardised logits: shift and scale of either side drop out, also on a cache."""

import numpy as np
import pytest
import torch

from kdcache.logits import Float32, all_classes, top_k
from kdcache.losses.outcomes import TAILS, Tail
from kdcache.losses.standardised import logit_std
from kdcache.losses.targets import TeacherTargets
from tests.unit.losses.conftest import Real
from tests.unit.losses.dense_reference import reference

TEACHER_BC: Float32 = (np.random.Generator(np.random.Philox(2)).normal(size=(8, 50)) * 3).astype(np.float32)
STUDENT_BC = torch.from_numpy(
    np.random.Generator(np.random.Philox(1)).normal(size=(8, 50)).astype(np.float32)
)


@pytest.mark.parametrize("tail", TAILS)
def test_shift_and_scale_of_the_student_drop_out(tail: Tail) -> None:
    targets = TeacherTargets.from_numpy(top_k(TEACHER_BC, 6))
    torch.testing.assert_close(
        logit_std(STUDENT_BC * 7.0 - 3.0, targets, tail=tail), logit_std(STUDENT_BC, targets, tail=tail)
    )


def test_shift_and_scale_of_a_dense_teacher_drop_out() -> None:
    scaled_BC: Float32 = TEACHER_BC * np.float32(0.3) + np.float32(2.0)
    found = [
        logit_std(STUDENT_BC, TeacherTargets.from_numpy(all_classes(logits_BC)), temperature=2.0)
        for logits_BC in (TEACHER_BC, scaled_BC)
    ]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("scale", "temperature", "bound"),
    [
        (4.0, 1.0, 0.005),
        (4.0, 8.0, 0.005),
        (1.0, 4.0, 0.005),
        (1.0, 1.0, 0.005),
        (1.0, 0.5, 0.02),
        (0.25, 4.0, 0.005),
        (0.25, 2.0, 0.02),
        (0.25, 1.0, 0.05),
    ],
)
def test_on_a_cut_teacher_of_any_scale_the_loss_is_close_to_that_of_the_exact_cut(
    scale: float, temperature: float, bound: float, imagenet: Real
) -> None:
    """The rows' own temperatures, T times the deviation, run from 0.25 to 40."""
    teacher_BC = imagenet.teacher_BC * scale
    targets = TeacherTargets.from_numpy(top_k(teacher_BC.numpy(), imagenet.kept))
    found = logit_std(imagenet.student_BC, targets, temperature=temperature).double()
    wanted = reference("logit-std", imagenet.student_BC, teacher_BC, temperature=temperature, k=imagenet.kept)
    assert abs(found - wanted) / wanted < bound


def test_a_student_whose_logits_are_all_equal_gets_a_finite_gradient() -> None:
    student_BC = torch.zeros(8, 50, requires_grad=True)
    value = logit_std(student_BC, TeacherTargets.from_numpy(top_k(TEACHER_BC, 6)))
    value.backward()
    assert torch.isfinite(value)
    assert student_BC.grad is not None
    assert torch.isfinite(student_BC.grad).all()
    assert student_BC.grad.any()
