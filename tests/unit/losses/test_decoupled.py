"""DKD's two parts, and what a label outside the kept classes means under each tail policy."""

import numpy as np
import pytest
import torch

from kdcache.logits import all_classes, top_k
from kdcache.losses.decoupled import dkd
from kdcache.losses.distill import kl
from kdcache.losses.outcomes import TAILS, Tail
from kdcache.losses.targets import TeacherTargets

CLASSES, KEPT = 12, 3
TEACHER_BC = (np.random.Generator(np.random.Philox(2)).normal(size=(1, CLASSES)) * 3).astype(np.float32)
STUDENT_BC = torch.from_numpy(
    (np.random.Generator(np.random.Philox(1)).normal(size=(1, CLASSES)) * 3).astype(np.float32)
)
BEST_FIRST = [int(label) for label in TEACHER_BC[0].argsort()[::-1]]
CUT = TeacherTargets.from_numpy(top_k(TEACHER_BC, KEPT))
DENSE = TeacherTargets.from_numpy(all_classes(TEACHER_BC))


@pytest.mark.parametrize("rank", [0, KEPT - 1, KEPT, CLASSES - 1])
@pytest.mark.parametrize("tail", ["bucket", "uniform"])
def test_the_two_parts_add_up_to_kl_where_the_second_weighs_what_the_label_leaves(
    tail: Tail, rank: int
) -> None:
    label_B = torch.tensor([BEST_FIRST[rank]])
    if rank < KEPT:
        label_mass = CUT.kept_log_probs(2.0)[0, rank].exp().item()
    else:
        label_mass = CUT.tail_log_mass(2.0)[0].exp().item() / (1 if tail == "bucket" else CLASSES - KEPT)
    total = dkd(
        STUDENT_BC, CUT, labels_B=label_B, alpha=1.0, beta=1.0 - label_mass, temperature=2.0, tail=tail
    )
    torch.testing.assert_close(total, kl(STUDENT_BC, CUT, temperature=2.0, tail=tail), rtol=1e-5, atol=1e-6)


def test_the_dense_parts_add_up_to_the_dense_kl() -> None:
    label_B = torch.tensor([BEST_FIRST[1]])
    others = 1.0 - DENSE.kept_log_probs(2.0)[0, label_B].exp().item()
    total = dkd(STUDENT_BC, DENSE, labels_B=label_B, alpha=1.0, beta=others, temperature=2.0)
    torch.testing.assert_close(total, kl(STUDENT_BC, DENSE, temperature=2.0), rtol=1e-5, atol=1e-6)


def test_in_a_bucket_all_labels_that_were_cut_off_are_the_tail() -> None:
    values = {dkd(STUDENT_BC, CUT, labels_B=torch.tensor([label])).item() for label in BEST_FIRST[KEPT:]}
    assert len(values) == 1


@pytest.mark.parametrize("tail", ["uniform", "drop"])
def test_with_a_dense_teacher_in_mind_each_label_that_was_cut_off_is_itself(tail: Tail) -> None:
    values = {
        dkd(STUDENT_BC, CUT, labels_B=torch.tensor([label]), tail=tail).item() for label in BEST_FIRST[KEPT:]
    }
    assert len(values) == CLASSES - KEPT


@pytest.mark.parametrize("tail", TAILS)
def test_a_teacher_that_is_certain_of_the_label_says_nothing_of_the_others(tail: Tail) -> None:
    certain_BC = np.full((1, CLASSES), -np.inf, dtype=np.float32)
    certain_BC[0, 4] = 1.0
    student_BC = STUDENT_BC.clone().requires_grad_()
    for targets in (top_k(certain_BC, KEPT), all_classes(certain_BC)):
        value = dkd(
            student_BC, TeacherTargets.from_numpy(targets), labels_B=torch.tensor([4]), alpha=0.0, tail=tail
        )
        value.backward()
        assert value == 0
    assert student_BC.grad is not None
    assert not student_BC.grad.any()


def test_a_confident_student_loses_no_digits_of_what_it_leaves_to_the_others() -> None:
    """1 - p_t is 1e-13 here, which float32 cannot tell from 0."""
    student_BC = torch.tensor([[30.0, 0.0, 1.0, 2.0]])
    teacher = TeacherTargets.from_numpy(all_classes(np.array([[3.0, 0.0, 1.0, 2.0]], dtype=np.float32)))
    others = dkd(student_BC, teacher, labels_B=torch.tensor([0]), alpha=0.0)
    torch.testing.assert_close(others, torch.tensor(0.0), rtol=0, atol=1e-5)
