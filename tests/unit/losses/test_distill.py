"""The sparse losses equal their dense definitions, computed here in float64 from all logits."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.losses.distill import Tail, hard, kl, soft_ce
from kdcache.losses.targets import TeacherTargets

TEMPERATURES = (1.0, 2.0, 4.0)
EXACT_TEMPERATURES = (1.0, 2.0)  # where the mass of the tail is known
TAILS: tuple[Tail, ...] = ("bucket", "uniform", "drop")
ROWS, CLASSES, KEPT = 8, 50, 6


def _normal(seed: int, rows: int = ROWS, classes: int = CLASSES, scale: float = 3.0) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(seed)).normal(size=(rows, classes)) * scale).astype(
        np.float32
    )


def _student(seed: int = 1, **shape: int) -> Tensor:
    return torch.from_numpy(_normal(seed, **shape)).requires_grad_()


def _reference(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float, tail: str, k: int) -> Tensor:
    """Return the loss of each row by its definition: both distributions written out over all classes."""
    q_BC = torch.softmax(teacher_BC.double() / temperature, dim=1)
    p_BC = torch.softmax(student_BC.double() / temperature, dim=1)
    order_BC = torch.argsort(teacher_BC, dim=1, descending=True, stable=True)
    kept_BK, rest = order_BC[:, :k], order_BC[:, k:]
    q_kept_BK, p_kept_BK = q_BC.gather(1, kept_BK), p_BC.gather(1, kept_BK)
    q_rest, p_rest = q_BC.gather(1, rest), p_BC.gather(1, rest)
    if tail == "bucket":
        q_rest, p_rest = q_rest.sum(dim=1, keepdim=True), p_rest.sum(dim=1, keepdim=True)
    elif tail == "uniform":
        q_rest = q_rest.mean(dim=1, keepdim=True).expand_as(q_rest)
    else:
        q_kept_BK, q_rest, p_rest = (
            q_kept_BK / q_kept_BK.sum(dim=1, keepdim=True),
            q_rest[:, :0],
            p_rest[:, :0],
        )
    q, p = torch.cat([q_kept_BK, q_rest], dim=1), torch.cat([p_kept_BK, p_rest], dim=1)
    return temperature**2 * torch.where(q > 0, q * (q / p).log(), 0.0).sum(dim=1)


def _without_row(cut: TopKLogits, row: int) -> TopKLogits:
    top1_N = cut.top1_N.copy()
    top1_N[row] = np.nan
    return dataclasses.replace(cut, top1_N=top1_N)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("temperature", EXACT_TEMPERATURES)
def test_sparse_kl_and_its_gradient_equal_the_dense_definition(temperature: float, tail: Tail) -> None:
    student_BC, teacher_BC = _student(), _normal(2)
    loss = kl(
        student_BC, TeacherTargets.from_numpy(top_k(teacher_BC, KEPT)), temperature=temperature, tail=tail
    )
    reference_BC = student_BC.detach().double().requires_grad_()
    dense = torch.from_numpy(teacher_BC)
    expected = _reference(reference_BC, dense, temperature=temperature, tail=tail, k=KEPT).mean()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    assert student_BC.grad is not None
    torch.testing.assert_close(student_BC.grad.double(), reference_BC.grad, rtol=1e-4, atol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 12),
    temperature=st.sampled_from(EXACT_TEMPERATURES),
    tail=st.sampled_from(TAILS),
    scale=st.sampled_from([0.1, 3.0, 20.0]),
)
def test_sparse_kl_equals_the_dense_definition_for_any_cut(
    seed: int, k: int, temperature: float, tail: Tail, scale: float
) -> None:
    student_BC, teacher_BC = torch.from_numpy(_normal(seed, 3, 12)), _normal(seed + 1, 3, 12, scale)
    loss = kl(student_BC, TeacherTargets.from_numpy(top_k(teacher_BC, k)), temperature=temperature, tail=tail)
    expected = _reference(student_BC, torch.from_numpy(teacher_BC), temperature=temperature, tail=tail, k=k)
    torch.testing.assert_close(loss.double(), expected.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, *TEMPERATURES, 10.0])
def test_kl_of_dense_targets_is_the_textbook_one(temperature: float) -> None:
    student_BC, teacher_BC = _student(), torch.from_numpy(_normal(2))
    loss = kl(student_BC, TeacherTargets.from_numpy(all_classes(_normal(2))), temperature=temperature)
    expected = temperature**2 * torch.nn.functional.kl_div(
        torch.log_softmax(student_BC.double() / temperature, dim=1),
        torch.log_softmax(teacher_BC.double() / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tail", TAILS)
def test_kl_is_zero_where_student_and_teacher_agree(tail: Tail) -> None:
    teacher_BC = _normal(2)
    loss = kl(torch.from_numpy(teacher_BC), TeacherTargets.from_numpy(all_classes(teacher_BC)), tail=tail)
    assert loss.abs() < 1e-6


def test_the_bucket_never_exceeds_the_dense_divergence() -> None:
    student_BC, dense = _student(), TeacherTargets.from_numpy(all_classes(_normal(2)))
    assert kl(student_BC, TeacherTargets.from_numpy(top_k(_normal(2), KEPT))) <= kl(student_BC, dense)


@pytest.mark.parametrize("tail", TAILS)
def test_a_cut_that_keeps_every_class_equals_dense_targets(tail: Tail) -> None:
    student_BC, dense = _student(), TeacherTargets.from_numpy(all_classes(_normal(2)))
    loss = kl(student_BC, TeacherTargets.from_numpy(top_k(_normal(2), CLASSES)), tail=tail)
    torch.testing.assert_close(loss, kl(student_BC, dense))
    loss.backward()
    assert student_BC.grad is not None
    assert torch.isfinite(student_BC.grad).all()


@pytest.mark.parametrize("tail", TAILS)
def test_classes_at_minus_infinity_carry_nothing(tail: Tail) -> None:
    teacher_BC = _normal(2)
    teacher_BC[:, 3:] = -np.inf
    student_BC = _student()
    loss = kl(student_BC, TeacherTargets.from_numpy(top_k(teacher_BC, KEPT)), tail=tail)
    torch.testing.assert_close(loss, kl(student_BC, TeacherTargets.from_numpy(all_classes(teacher_BC))))
    loss.backward()
    assert student_BC.grad is not None
    assert torch.isfinite(student_BC.grad).all()


@pytest.mark.parametrize("tail", TAILS)
def test_rows_without_targets_contribute_nothing(tail: Tail) -> None:
    student_BC = _student()
    loss = kl(student_BC, TeacherTargets.from_numpy(_without_row(top_k(_normal(2), KEPT), 3)), tail=tail)
    others = [row for row in range(ROWS) if row != 3]
    expected = kl(student_BC[others], TeacherTargets.from_numpy(top_k(_normal(2)[others], KEPT)), tail=tail)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert student_BC.grad is not None
    assert not student_BC.grad[3].any()


@pytest.mark.parametrize("loss", [kl, hard])
def test_a_batch_without_any_target_gives_zero_and_a_zero_gradient(
    loss: Callable[[Tensor, TeacherTargets], Tensor],
) -> None:
    student_BC = _student(rows=1)
    value = loss(student_BC, TeacherTargets.from_numpy(_without_row(top_k(_normal(2, 1), KEPT), 0)))
    value.backward()
    assert value == 0
    assert student_BC.grad is not None
    assert not student_BC.grad.any()


def test_hard_is_the_cross_entropy_with_the_best_class() -> None:
    student_BC, teacher_BC = _student(), _normal(2)
    expected = torch.nn.functional.cross_entropy(student_BC, torch.from_numpy(teacher_BC).argmax(dim=1))
    torch.testing.assert_close(hard(student_BC, TeacherTargets.from_numpy(top_k(teacher_BC, 1))), expected)
    torch.testing.assert_close(hard(student_BC, TeacherTargets.from_numpy(all_classes(teacher_BC))), expected)


@pytest.mark.parametrize("loss", [kl, hard])
def test_losses_are_computed_in_float32_under_autocast(
    loss: Callable[[Tensor, TeacherTargets], Tensor],
) -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    logits_BC = _student().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits_BC, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits_BC.float(), targets))


def test_another_number_of_classes_is_refused_with_the_way_out() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match=r"student has 10 classes.*have 50; build .*num_classes=50"):
        kl(torch.zeros(ROWS, 10), targets)


def test_an_unknown_tail_policy_is_refused() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match="tail 'bukket': expected one of bucket, uniform, drop"):
        kl(_student(), targets, tail="bukket")  # type: ignore[arg-type]


def test_no_tensor_over_all_classes_is_made_for_the_teacher() -> None:
    classes = 22_000
    targets = TeacherTargets.from_numpy(top_k(_normal(2, 2, classes), KEPT))
    assert max(tensor.numel() for tensor in (targets.kept_log_probs(1.0), targets.tail_log_mass(1.0))) < 100
    assert torch.isfinite(kl(_student(rows=2, classes=classes), targets))


@pytest.mark.parametrize("tail", TAILS)
def test_soft_cross_entropy_is_kl_plus_the_teachers_entropy(tail: Tail) -> None:
    student_BC, targets = _student(), TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    other_BC = _student(7)
    gap = soft_ce(student_BC, targets, tail=tail) - kl(student_BC, targets, tail=tail)
    torch.testing.assert_close(
        gap, soft_ce(other_BC, targets, tail=tail) - kl(other_BC, targets, tail=tail), rtol=1e-5, atol=1e-5
    )
    assert gap > 0


def test_soft_cross_entropy_of_dense_targets_is_that_of_torch() -> None:
    q_BC = torch.softmax(torch.from_numpy(_normal(2)), dim=1)
    found = soft_ce(_student(), TeacherTargets.from_numpy(all_classes(_normal(2))))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(_student(), q_BC))
