"""DIST compares relations: what changes no relation changes nothing."""

import numpy as np
import torch

from kdcache.logits import Float32, all_classes, top_k
from kdcache.losses.relation import dist
from kdcache.losses.targets import TeacherTargets

ROWS, CLASSES = 8, 50
TEACHER_BC = (np.random.Generator(np.random.Philox(2)).normal(size=(ROWS, CLASSES)) * 3).astype(np.float32)
STUDENT_BC = torch.from_numpy(
    np.random.Generator(np.random.Philox(1)).normal(size=(ROWS, CLASSES)).astype(np.float32)
)
DENSE = TeacherTargets.from_numpy(all_classes(TEACHER_BC))
CUT = TeacherTargets.from_numpy(top_k(TEACHER_BC, 6))


def test_a_student_that_agrees_has_nothing_to_learn() -> None:
    assert abs(dist(torch.from_numpy(TEACHER_BC), DENSE)) < 1e-5


def test_the_sparse_form_is_the_dense_one_of_the_spread_out_tail() -> None:
    dense_BC: Float32 = np.log(top_k(TEACHER_BC, 6).to_dense_NC(2.0)) * np.float32(2.0)
    spread_out = TeacherTargets.from_numpy(all_classes(dense_BC))
    torch.testing.assert_close(
        dist(STUDENT_BC, CUT, temperature=2.0), dist(STUDENT_BC, spread_out, temperature=2.0)
    )


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = torch.arange(ROWS).flip(0)
    torch.testing.assert_close(dist(STUDENT_BC[rows], CUT.take(rows)), dist(STUDENT_BC, CUT))


def test_weights_weigh_the_two_parts() -> None:
    inter, intra = dist(STUDENT_BC, CUT, gamma=0.0), dist(STUDENT_BC, CUT, beta=0.0)
    torch.testing.assert_close(dist(STUDENT_BC, CUT, beta=2.0, gamma=3.0), 2.0 * inter + 3.0 * intra)


def test_a_batch_of_one_row_has_no_relation_between_rows() -> None:
    student_BC = STUDENT_BC[:1].clone().requires_grad_()
    for targets in (DENSE, CUT):
        value = dist(student_BC, targets.take(torch.tensor([0])), beta=0.0)
        value.backward()
        assert value == 1.0
    assert student_BC.grad is not None
    assert not student_BC.grad.any()


def test_a_student_that_says_nothing_yet_gets_a_finite_gradient() -> None:
    student_BC = torch.zeros(ROWS, CLASSES, requires_grad=True)
    dist(student_BC, CUT).backward()
    assert student_BC.grad is not None
    assert torch.isfinite(student_BC.grad).all()
    assert student_BC.grad.any()
