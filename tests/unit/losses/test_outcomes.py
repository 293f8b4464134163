"""Teacher and student are paired over the same outcomes under every tail policy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.logits import all_classes, top_k
from kdcache.losses.outcomes import (
    TAILS,
    Outcomes,
    Tail,
    check_tail,
    divergence,
    mean_over,
    outcomes,
    pair_up,
)
from kdcache.losses.targets import TeacherTargets

ROWS, CLASSES, KEPT = 4, 12, 3


def _normal(seed: int) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(seed)).normal(size=(ROWS, CLASSES)) * 3.0).astype(np.float32)


def _pair(tail: Tail, *, temperature: float = 2.0) -> Outcomes:
    log_p_BC = torch.log_softmax(torch.from_numpy(_normal(1)), dim=1)
    return outcomes(
        log_p_BC, TeacherTargets.from_numpy(top_k(_normal(2), KEPT)), temperature=temperature, tail=tail
    )


@pytest.mark.parametrize("tail", TAILS)
def test_the_teachers_outcomes_hold_all_its_mass(tail: Tail) -> None:
    pair = _pair(tail)
    torch.testing.assert_close(pair.total(pair.log_q_BO.exp()), torch.ones(ROWS))
    torch.testing.assert_close(pair.log_total(pair.log_q_BO), torch.zeros(ROWS), rtol=0, atol=1e-6)


def test_the_students_bucket_holds_all_its_mass_and_no_other_policy_does() -> None:
    torch.testing.assert_close(_pair("bucket").log_p_BO.exp().sum(dim=1), torch.ones(ROWS))
    assert (_pair("drop").log_p_BO.exp().sum(dim=1) < 1).all()


def test_the_uniform_tail_stands_for_every_class_that_was_cut_off() -> None:
    pair = _pair("uniform")
    assert pair.size_B is not None
    assert pair.size_B.tolist() == [CLASSES - KEPT] * ROWS


def test_places_without_a_class_hold_nothing_of_either() -> None:
    teacher_BC = _normal(2)
    teacher_BC[:, 2:] = -np.inf
    log_p_BC = torch.log_softmax(torch.from_numpy(_normal(1)), dim=1)
    pair = outcomes(
        log_p_BC, TeacherTargets.from_numpy(top_k(teacher_BC, KEPT)), temperature=1.0, tail="bucket"
    )
    assert not pair.log_q_BO[:, 2:].exp().any()
    assert not pair.log_p_BO[:, 2].exp().any()
    torch.testing.assert_close(pair.log_p_BO.exp().sum(dim=1), torch.ones(ROWS))


def test_a_student_tail_far_below_float32s_resolution_is_kept() -> None:
    logits_BC = torch.tensor([[60.0, 59.0, 0.0, 0.0]])
    teacher = TeacherTargets.from_numpy(top_k(np.array([[3.0, 2.0, 0.0, 0.0]], dtype=np.float32), 2))
    pair = outcomes(torch.log_softmax(logits_BC, dim=1), teacher, temperature=1.0, tail="bucket")
    expected = torch.log(torch.tensor(2.0)) - torch.logsumexp(logits_BC, dim=1)
    torch.testing.assert_close(pair.log_p_BO[:, -1], expected)


def test_dense_targets_are_taken_as_they_are() -> None:
    log_p_BC = torch.log_softmax(torch.from_numpy(_normal(1)), dim=1)
    teacher = TeacherTargets.from_numpy(all_classes(_normal(2)))
    for tail in TAILS:
        assert outcomes(log_p_BC, teacher, temperature=9.0, tail=tail).log_p_BO is log_p_BC


@pytest.mark.parametrize("tail", TAILS)
def test_gradients_agree_with_finite_differences(tail: Tail) -> None:
    teacher = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    shares_BK, log_odds_B = teacher.kept_log_shares(2.0).double(), teacher.tail_log_odds(2.0).double()

    def loss(student_BC: Tensor) -> Tensor:
        pair = pair_up(
            torch.log_softmax(student_BC, dim=1),
            teacher.class_ids_BK,
            log_shares_BK=shares_BK,
            tail_log_odds_B=log_odds_B,
            tail=tail,
        )
        return pair.total(divergence(pair.log_q_BO, pair.log_p_BO))

    assert torch.autograd.gradcheck(loss, torch.from_numpy(_normal(1)).double().requires_grad_())


def test_the_mean_runs_over_the_rows_that_count() -> None:
    loss_B, is_counted_B = torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([True, False, True])
    assert mean_over(loss_B, is_counted_B) == 2.0
    assert mean_over(loss_B, torch.zeros(3, dtype=torch.bool)) == 0.0


def test_a_tail_policy_that_a_loss_does_not_have_is_refused_naming_those_it_has() -> None:
    check_tail("bucket", loss="jsd", allowed=("bucket",))
    with pytest.raises(ConfigError, match=r"tail 'drop' has no meaning for distill loss 'jsd'.* bucket$"):
        check_tail("drop", loss="jsd", allowed=("bucket",))
