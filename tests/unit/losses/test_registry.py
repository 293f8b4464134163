"""Every loss, called by its name: against its equation in float64, and in what all losses have in common."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from kdcache.errors import ConfigError
from kdcache.logits import NO_TAIL, TopKLogits, all_classes, top_k
from kdcache.losses import DISTILL_LOSSES, TeacherTargets, distill_loss
from tests.unit.losses.conftest import Real
from tests.unit.losses.dense_reference import CASES, OPTIONS, reference

TEMPERATURES = (1.0, 2.0, 4.0)
NAMES = tuple(DISTILL_LOSSES)
ROWS, CLASSES, KEPT = 8, 50, 6


def _normal(seed: int, rows: int = ROWS, classes: int = CLASSES, scale: float = 3.0) -> np.ndarray:
    return (np.random.Generator(np.random.Philox(seed)).normal(size=(rows, classes)) * scale).astype(
        np.float32
    )


def _labels(teacher_BC: np.ndarray, seed: int = 9) -> Tensor:
    labels_B = teacher_BC.argmax(axis=1)
    others = np.random.Generator(np.random.Philox(seed)).integers(0, teacher_BC.shape[1], len(labels_B))
    labels_B[1::2] = others[1::2]
    return torch.from_numpy(labels_B)


def _grad(loss: Callable[[Tensor], Tensor], student_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient as float64."""
    leaf = student_BC.detach().clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    assert leaf.grad is not None
    return value.detach().double(), leaf.grad.double()


def _off(found: Tensor, wanted: Tensor) -> float:
    """Return the relative distance of two tensors."""
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


def _tail_log_odds(name: str, targets: TeacherTargets, teacher_BC: Tensor, temperature: float) -> Tensor:
    """Return what the targets say of the tail's mass at the temperature at which a loss looks at it."""
    if name == "logit-std":
        return targets.tail_log_odds(temperature * teacher_BC.std(dim=1, correction=0))
    return targets.tail_log_odds(1.0 if name in {"ce", "hard"} else temperature)


def _without_row(cut: TopKLogits, row: int) -> TopKLogits:
    """Return the cut with a row as a cache gives a bad sample back."""
    top1_N, logits_NK, tail_N5 = cut.top1_N.copy(), cut.logits_NK.copy(), cut.tail_N5.copy()
    top1_N[row], logits_NK[row], tail_N5[row] = np.nan, -np.inf, NO_TAIL
    ids_NK = None if cut.class_ids_NK is None else cut.class_ids_NK.copy()
    if ids_NK is not None:
        ids_NK[row] = -1
    return TopKLogits(ids_NK, logits_NK, top1_N, tail_N5, cut.num_classes)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("name", "tail"), CASES)
def test_a_loss_and_its_gradient_on_a_cut_are_those_of_the_equation(
    name: str, tail: str, temperature: float
) -> None:
    teacher_BC, student_BC = _normal(2), torch.from_numpy(_normal(1))
    common: dict[str, Any] = {"temperature": temperature, "tail": tail, "labels_B": _labels(teacher_BC)}
    targets = TeacherTargets.from_numpy(top_k(teacher_BC, KEPT))
    found, found_grad = _grad(lambda s: distill_loss(name, s, targets, **common), student_BC)
    common["tail_log_odds_B"] = _tail_log_odds(name, targets, torch.from_numpy(teacher_BC), temperature)
    wanted, wanted_grad = _grad(
        lambda s: reference(name, s, torch.from_numpy(teacher_BC), k=KEPT, **common), student_BC.double()
    )
    assert _off(found, wanted) < 2e-5
    assert _off(found_grad, wanted_grad) < 2e-5


@pytest.mark.parametrize("temperature", [0.5, *TEMPERATURES, 9.0])
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_dense_targets_is_the_textbook_one(name: str, temperature: float) -> None:
    teacher_BC, student_BC = _normal(2), torch.from_numpy(_normal(1))
    common: dict[str, Any] = {"temperature": temperature, "labels_B": _labels(teacher_BC)}
    targets = TeacherTargets.from_numpy(all_classes(teacher_BC))
    found, found_grad = _grad(lambda s: distill_loss(name, s, targets, **common), student_BC)
    wanted, wanted_grad = _grad(
        lambda s: reference(name, s, torch.from_numpy(teacher_BC), **common), student_BC.double()
    )
    assert _off(found, wanted) < 5e-6
    assert _off(found_grad, wanted_grad) < 2e-5


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 12),
    temperature=st.sampled_from(TEMPERATURES),
    case=st.sampled_from(CASES),
    scale=st.sampled_from([0.1, 3.0, 20.0]),
)
def test_a_loss_is_that_of_the_equation_for_any_cut(
    seed: int, k: int, temperature: float, case: tuple[str, str], scale: float
) -> None:
    name, tail = case
    teacher_BC, student_BC = _normal(seed, 3, 12, scale), torch.from_numpy(_normal(seed + 1, 3, 12))
    common: dict[str, Any] = {"temperature": temperature, "tail": tail, "labels_B": _labels(teacher_BC, seed)}
    targets = TeacherTargets.from_numpy(top_k(teacher_BC, k))
    found = distill_loss(name, student_BC, targets, **common)
    common["tail_log_odds_B"] = _tail_log_odds(name, targets, torch.from_numpy(teacher_BC), temperature)
    wanted = reference(name, student_BC, torch.from_numpy(teacher_BC), k=k, **common)
    torch.testing.assert_close(found.double(), wanted, rtol=2e-4, atol=2e-5)


# What the cut may change in a loss at T = 1, 2, 4, relative to the dense one: the larger of 20 kept of 1,000
# classes (a third of the mass lies in the tail) and 4 of 10. ``drop`` reproduces other tools and is not bounded.
CUT_BOUNDS = {
    ("kl", "bucket"): (0.25, 0.6, 0.85),
    ("kl", "uniform"): (0.05, 0.1, 0.1),
    ("ce", "bucket"): (0.6, 0.6, 0.6),
    ("ce", "uniform"): (0.05, 0.05, 0.05),
    ("hard", "bucket"): (1e-9, 1e-9, 1e-9),
    ("dkd", "bucket"): (0.4, 0.6, 0.7),
    ("dkd", "uniform"): (0.05, 0.1, 0.1),
    ("logit-std", "bucket"): (0.3, 0.65, 0.9),
    ("logit-std", "uniform"): (0.75, 1.1, 1.3),
    ("dist", "uniform"): (0.3, 0.5, 0.7),
    ("bce", "uniform"): (0.001, 0.01, 0.03),
    ("reverse-kl", "bucket"): (0.45, 0.75, 0.9),
    ("jsd", "bucket"): (0.3, 0.65, 0.9),
}
TAIL_BOUNDS = {20: (5e-3, 5e-3), 4: (2e-2, 5e-2)}
"""What it may cost, by kept classes, that the tail's mass at a temperature is known from four numbers: in a loss and in
its gradient. The tail of 980 classes is smooth, that of 6 is not."""
ENCODING_BOUND = 5e-3
ENCODING_GRADIENT_BOUND = 2e-2


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("name", "tail"), CASES)
def test_on_real_targets_the_cut_and_the_encoding_each_cost_what_they_may(
    name: str, tail: str, temperature: float, real: Real
) -> None:
    common: dict[str, Any] = {"temperature": temperature, "labels_B": real.labels_B}
    student_BC = real.student_BC.double()
    dense, _ = _grad(lambda s: reference(name, s, real.teacher_BC, **common), student_BC)
    common["tail"] = tail
    cut, cut_grad = _grad(lambda s: reference(name, s, real.teacher_BC, k=real.kept, **common), student_BC)
    exact, exact_grad = _grad(lambda s: distill_loss(name, s, real.exact, **common), real.student_BC)
    cached, cached_grad = _grad(lambda s: distill_loss(name, s, real.cached, **common), real.student_BC)
    tail_bound, tail_gradient_bound = TAIL_BOUNDS[real.kept]
    if tail == "drop" or name in {"ce", "hard"} or (temperature == 1.0 and name != "logit-std"):
        tail_bound = tail_gradient_bound = 2e-5
    assert _off(exact, cut) < tail_bound
    assert _off(exact_grad, cut_grad) < tail_gradient_bound
    assert _off(cached, exact) < ENCODING_BOUND
    assert _off(cached_grad, exact_grad) < ENCODING_GRADIENT_BOUND
    if (name, tail) in CUT_BOUNDS:
        assert _off(cut, dense) < CUT_BOUNDS[name, tail][TEMPERATURES.index(temperature)]


@pytest.mark.parametrize(("name", "tail"), CASES)
def test_a_cut_that_keeps_every_class_is_no_cut(name: str, tail: str) -> None:
    teacher_BC, student_BC = _normal(2), torch.from_numpy(_normal(1))
    common: dict[str, Any] = {"temperature": 2.0, "tail": tail, "labels_B": _labels(teacher_BC)}
    all_kept = TeacherTargets.from_numpy(top_k(teacher_BC, CLASSES))
    dense = TeacherTargets.from_numpy(all_classes(teacher_BC))
    found, found_grad = _grad(lambda s: distill_loss(name, s, all_kept, **common), student_BC)
    wanted, wanted_grad = _grad(lambda s: distill_loss(name, s, dense, **common), student_BC)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found_grad, wanted_grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "tail"), CASES)
@pytest.mark.parametrize("cut", [lambda logits: top_k(logits, KEPT), all_classes])
def test_classes_that_the_teacher_rules_out_are_no_nan(
    cut: Callable[[np.ndarray], TopKLogits], name: str, tail: str
) -> None:
    teacher_BC = _normal(2)
    teacher_BC[:, 4:] = -np.inf
    common: dict[str, Any] = {"temperature": 2.0, "tail": tail, "labels_B": _labels(teacher_BC)}
    found, grad = _grad(
        lambda s: distill_loss(name, s, TeacherTargets.from_numpy(cut(teacher_BC)), **common),
        torch.from_numpy(_normal(1)),
    )
    assert torch.isfinite(found)
    assert torch.isfinite(grad).all()
    # A bucket of what is ruled out is no longer every class of it: reverse-kl, jsd and dkd see that.
    if tail != "bucket" or name in {"kl", "ce", "hard", "logit-std"}:
        wanted = reference(name, torch.from_numpy(_normal(1)), torch.from_numpy(teacher_BC), **common)
        assert _off(found, wanted) < 1e-5


@pytest.mark.parametrize(("name", "tail"), CASES)
@pytest.mark.parametrize("cut", [lambda logits: top_k(logits, KEPT), all_classes])
def test_rows_without_targets_or_without_the_label_that_is_needed_count_nowhere(
    cut: Callable[[np.ndarray], TopKLogits], name: str, tail: str
) -> None:
    teacher_BC, student_BC = _normal(2), torch.from_numpy(_normal(1))
    labels_B = _labels(teacher_BC)
    labels_B[5] = -1
    is_counted_B = torch.ones(ROWS, dtype=torch.bool)
    is_counted_B[3] = False
    is_counted_B[5] = not DISTILL_LOSSES[name].needs_labels
    targets = TeacherTargets.from_numpy(_without_row(cut(teacher_BC), 3))
    others = TeacherTargets.from_numpy(cut(teacher_BC[is_counted_B.numpy()]))
    common: dict[str, Any] = {"temperature": 2.0, "tail": tail}
    found, grad = _grad(lambda s: distill_loss(name, s, targets, labels_B=labels_B, **common), student_BC)
    wanted, wanted_grad = _grad(
        lambda s: distill_loss(name, s, others, labels_B=labels_B[is_counted_B], **common),
        student_BC[is_counted_B],
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(grad[is_counted_B], wanted_grad, rtol=1e-4, atol=1e-7)
    assert not grad[~is_counted_B].any()


@pytest.mark.parametrize(("name", "tail"), CASES)
@pytest.mark.parametrize("cut", [lambda logits: top_k(logits, KEPT), all_classes])
def test_a_batch_without_any_target_gives_zero_and_a_zero_gradient(
    cut: Callable[[np.ndarray], TopKLogits], name: str, tail: str
) -> None:
    targets = TeacherTargets.from_numpy(_without_row(cut(_normal(2, 1)), 0))
    labels_B = torch.zeros(1, dtype=torch.int64)
    found, grad = _grad(
        lambda s: distill_loss(name, s, targets, tail=tail, labels_B=labels_B),  # type: ignore[arg-type]
        torch.from_numpy(_normal(1, 1)),
    )
    assert found == 0
    assert not grad.any()


@pytest.mark.parametrize(("name", "tail"), CASES)
def test_a_loss_is_computed_in_float32_under_autocast(name: str, tail: str) -> None:
    teacher_BC, logits_BC = _normal(2), torch.from_numpy(_normal(1)).bfloat16()
    common: dict[str, Any] = {"temperature": 2.0, "tail": tail, "labels_B": _labels(teacher_BC)}
    targets = TeacherTargets.from_numpy(top_k(teacher_BC, KEPT))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = distill_loss(name, logits_BC, targets, **common)
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value, distill_loss(name, logits_BC.float(), targets, **common), rtol=0, atol=0
    )


@pytest.mark.parametrize(("name", "tail"), CASES)
@pytest.mark.parametrize("cut", [lambda logits: top_k(logits, KEPT), all_classes])
def test_no_loss_looks_at_a_value_on_the_device(
    cut: Callable[[np.ndarray], TopKLogits], name: str, tail: str
) -> None:
    """Under fake tensors, reading a value (``item``, a boolean, a shape that depends on one) is an error."""
    teacher_BC = _normal(2)
    with FakeTensorMode() as mode:
        targets = TeacherTargets.from_numpy(cut(teacher_BC))._map(mode.from_tensor)
        student_BC = mode.from_tensor(torch.zeros(ROWS, CLASSES)).requires_grad_()
        labels_B = mode.from_tensor(torch.zeros(ROWS, dtype=torch.int64))
        value = distill_loss(name, student_BC, targets, temperature=2.0, tail=tail, labels_B=labels_B)  # type: ignore[arg-type]
        value.backward()


class _LargeTeacherTensors(TorchFunctionMode):
    """Collects what is as large as the logits, but does not come from the student."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel = numel
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point() and result.numel() >= self.numel:
            self.found += [] if result.requires_grad else [str(func)]
        return result


@pytest.mark.parametrize(("name", "tail"), CASES)
def test_no_tensor_over_all_classes_is_made_for_the_teacher(name: str, tail: str) -> None:
    classes = 22_000
    teacher_BC = _normal(2, 2, classes)
    targets = TeacherTargets.from_numpy(top_k(teacher_BC, KEPT))
    student_BC = torch.from_numpy(_normal(1, 2, classes)).requires_grad_()
    with _LargeTeacherTensors(2 * classes) as large:
        value = distill_loss(name, student_BC, targets, tail=tail, labels_B=_labels(teacher_BC))  # type: ignore[arg-type]
    assert torch.isfinite(value)
    assert large.found == []


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_says_truly_which_settings_have_a_meaning(name: str) -> None:
    loss, teacher_BC, student_BC = DISTILL_LOSSES[name], _normal(2), torch.from_numpy(_normal(1))
    targets = TeacherTargets.from_numpy(top_k(teacher_BC, KEPT))

    def value(**changes: Any) -> float:
        return distill_loss(name, student_BC, targets, **{"labels_B": _labels(teacher_BC)} | changes).item()

    assert (value(temperature=2.0) != value()) == loss.softens
    assert dict(loss.options) == dict(OPTIONS.get(name, {}))
    for option, default in loss.options.items():
        assert value(options={option: 0.25}) != value()
        assert value(options={option: default}) == value()


@pytest.mark.parametrize("name", ["kl", "ce", "dkd", "logit-std"])
def test_three_tail_policies_differ_where_there_is_a_tail(name: str) -> None:
    teacher_BC, student_BC = _normal(2), torch.from_numpy(_normal(1))
    targets, labels_B = TeacherTargets.from_numpy(top_k(teacher_BC, KEPT)), _labels(teacher_BC)
    values = {
        distill_loss(name, student_BC, targets, tail=tail, labels_B=labels_B).item()
        for tail in ("bucket", "uniform", "drop")
    }
    assert len(values) == 3


@pytest.mark.parametrize("name", ["reverse-kl", "jsd"])
@pytest.mark.parametrize("tail", ["uniform", "drop"])
def test_a_tail_policy_without_a_meaning_is_refused(name: str, tail: Any) -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match=f"tail '{tail}' has no meaning for .* '{name}'.*expected bucket"):
        distill_loss(name, torch.zeros(ROWS, CLASSES), targets, tail=tail)


@pytest.mark.parametrize("name", [name for name in NAMES if DISTILL_LOSSES[name].has_tail])
def test_an_unknown_tail_policy_is_refused_by_every_loss_that_has_one(name: str) -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match="tail 'bukket': expected one of bucket"):
        distill_loss(
            name,
            torch.zeros(ROWS, CLASSES),
            targets,
            tail="bukket",  # type: ignore[arg-type]
            labels_B=torch.zeros(ROWS, dtype=torch.int64),
        )


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_classes_is_refused_by_every_loss(name: str) -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match=r"student has 10 classes.*have 50; build .*num_classes=50"):
        distill_loss(name, torch.zeros(ROWS, 10), targets, labels_B=torch.zeros(ROWS, dtype=torch.int64))


@pytest.mark.parametrize("name", [name for name in NAMES if DISTILL_LOSSES[name].softens])
def test_a_temperature_that_is_none_is_refused(name: str) -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match="temperature 0: expected a number above 0"):
        distill_loss(
            name,
            torch.zeros(ROWS, CLASSES),
            targets,
            temperature=0.0,
            labels_B=torch.zeros(ROWS, dtype=torch.int64),
        )


def test_an_unknown_loss_is_refused_with_the_nearest_name() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(
        ConfigError, match=r"distill loss 'logit_std': did you mean 'logit-std'. expected .*kl"
    ):
        distill_loss("logit_std", torch.zeros(ROWS, CLASSES), targets)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match="option 'gama' of distill loss 'dist': did you mean 'gamma'"):
        distill_loss("dist", torch.zeros(ROWS, CLASSES), targets, options={"gama": 2.0})
    with pytest.raises(ConfigError, match="option 'alpha' of distill loss 'kl': it has no options"):
        distill_loss("kl", torch.zeros(ROWS, CLASSES), targets, options={"alpha": 2.0})


def test_missing_labels_are_refused_where_they_are_needed() -> None:
    targets = TeacherTargets.from_numpy(top_k(_normal(2), KEPT))
    with pytest.raises(ConfigError, match="distill loss 'dkd' needs the labels"):
        distill_loss("dkd", torch.zeros(ROWS, CLASSES), targets)


def test_entries_are_named_as_they_are_found() -> None:
    assert [loss.name for loss in DISTILL_LOSSES.values()] == list(DISTILL_LOSSES)
    assert {loss.name for loss in DISTILL_LOSSES.values() if loss.needs_dense} == {"dist", "bce"}
    assert {loss.name for loss in DISTILL_LOSSES.values() if not loss.has_tail} == {"hard", "dist", "bce"}
