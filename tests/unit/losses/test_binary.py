"""Binary cross-entropy with soft targets is timm's, summed over the classes."""

import numpy as np
import torch
from timm.loss.binary_cross_entropy import BinaryCrossEntropy

from kdcache.logits import all_classes, top_k
from kdcache.losses.binary import bce
from kdcache.losses.targets import TeacherTargets

CLASSES = 50
TEACHER_BC = (np.random.Generator(np.random.Philox(2)).normal(size=(8, CLASSES)) * 3).astype(np.float32)
STUDENT_BC = torch.from_numpy(
    np.random.Generator(np.random.Philox(1)).normal(size=(8, CLASSES)).astype(np.float32)
)


def test_dense_targets_give_timms_loss_times_the_number_of_classes() -> None:
    q_BC = torch.softmax(torch.from_numpy(TEACHER_BC) / 2.0, dim=1)
    found = bce(STUDENT_BC, TeacherTargets.from_numpy(all_classes(TEACHER_BC)), temperature=2.0)
    torch.testing.assert_close(found, CLASSES * BinaryCrossEntropy(smoothing=0.0)(STUDENT_BC, q_BC))


def test_a_cut_cache_gives_timms_loss_of_its_dense_form() -> None:
    cut = top_k(TEACHER_BC, 6)
    dense_BC = torch.from_numpy(cut.to_dense_NC(2.0))
    found = bce(STUDENT_BC, TeacherTargets.from_numpy(cut), temperature=2.0)
    torch.testing.assert_close(found, CLASSES * BinaryCrossEntropy(smoothing=0.0)(STUDENT_BC, dense_BC))


def test_logits_far_from_zero_stay_finite() -> None:
    student_BC = (STUDENT_BC * 1e4).requires_grad_()
    value = bce(student_BC, TeacherTargets.from_numpy(top_k(TEACHER_BC, 6)))
    value.backward()
    assert torch.isfinite(value)
    assert student_BC.grad is not None
    assert torch.isfinite(student_BC.grad).all()
