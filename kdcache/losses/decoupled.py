"""Decoupled knowledge distillation: the label's class and the other classes, weighed apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdcache.losses.outcomes import (
    OUT,
    Outcomes,
    Tail,
    check,
    check_tail,
    divergence,
    mean_over,
    outcomes,
    student_log_probs,
)
from kdcache.losses.targets import TeacherTargets

__all__ = ["dkd"]


def dkd(
    student_logits_BC: Tensor,
    teacher: TeacherTargets,
    *,
    labels_B: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 1.0,
    tail: Tail = "bucket",
) -> Tensor:
    """Return T^2 * (alpha TCKD + beta NCKD), the mean over rows with targets and a label.

    Zhao et al. 2022, arXiv:2203.08679. With t the label's class: TCKD = KL of (q_t, 1 - q_t) to (p_t, 1 - p_t);
    NCKD = KL between the distributions over the other classes, q_c / (1 - q_t) and p_c / (1 - p_t). With
    alpha 1 and beta (1 - q_t) it would be ``kl``.

    On a cut cache ``uniform`` and ``drop`` put their teacher (the tail spread evenly; nothing outside the kept
    classes) into this equation. ``bucket`` puts the coarsened distributions into it, whose outcomes are the
    kept classes and the tail: a label among the kept classes is its own outcome and the tail is one of the
    others; a label that was cut off is part of the tail, and then the tail as a whole is the target: q_t is the
    tail's mass, p_t the student's mass outside the kept classes, and NCKD runs over the kept ones. Computed in
    float32 also under autocast.

    Args:
        student_logits_BC: the student's logits.
        teacher: the cached targets.
        labels_B: the class of each row; a row below 0 has none and counts nowhere.
        alpha: weight of the target class's part.
        beta: weight of the other classes' part.
        temperature: divides both logits before the softmax.
        tail: what the classes outside the kept ones are; ``uniform`` is much closer to the dense gradient than
            ``bucket`` (docs/losses.md has figures).

    Raises:
        ConfigError: ``tail`` is unknown, the student has another number of classes than the teacher, or
            ``temperature`` is not above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    check_tail(tail, loss="dkd")
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = student_log_probs(student_logits_BC, temperature)
        pair = outcomes(log_p_BC, teacher, temperature=temperature, tail=tail)
        decoupled = _set_label_apart(
            pair, log_p_BC, teacher.class_ids_BK, labels_B.clamp(min=0)[:, None], tail
        )
        target_B, others_B = decoupled.parts()
        is_counted_B = teacher.valid_B & (labels_B >= 0)
        return temperature**2 * mean_over(alpha * target_B + beta * others_B, is_counted_B)


@dataclass(frozen=True, slots=True)
class _Decoupled:
    """Outcomes of which exactly one is the target; ``log_p_others_B`` is the student's log(1 - p_t)."""

    pair: Outcomes
    is_target_BO: Tensor
    log_p_others_B: Tensor

    def parts(self) -> tuple[Tensor, Tensor]:
        """Return TCKD and NCKD, each (B,)."""
        log_q_BO, log_p_BO = self.pair.log_q_BO, self.pair.log_p_BO
        log_q_other_BO = torch.where(self.is_target_BO, -torch.inf, log_q_BO)
        log_q_others_B = self.pair.log_total(log_q_other_BO)
        log_q_target_B = torch.where(self.is_target_BO, log_q_BO, -torch.inf).amax(dim=1)
        log_p_target_B = torch.where(self.is_target_BO, log_p_BO, 0.0).sum(dim=1)
        target_B = divergence(log_q_target_B, log_p_target_B) + divergence(
            log_q_others_B, self.log_p_others_B
        )
        # A teacher that gives the target everything says nothing of the others.
        some_B = torch.where(log_q_others_B > -torch.inf, log_q_others_B, 0.0)
        others_BO = divergence(log_q_other_BO - some_B[:, None], log_p_BO - self.log_p_others_B[:, None])
        return target_B, self.pair.total(others_BO)


def _set_label_apart(
    pair: Outcomes, log_p_BC: Tensor, class_ids_BK: Tensor | None, labels_B1: Tensor, tail: Tail
) -> _Decoupled:
    """Find the outcome that is the label, or give it one of its own where a dense teacher is meant."""
    if class_ids_BK is None:
        is_target_BC = torch.zeros_like(log_p_BC, dtype=torch.bool).scatter(1, labels_B1, value=True)
        return _Decoupled(pair, is_target_BC, _log_sum_but(is_target_BC, log_p_BC))
    is_label_BK = class_ids_BK == labels_B1
    is_cut_B1 = ~is_label_BK.any(dim=1, keepdim=True)
    if tail == "bucket":
        is_target_BO = torch.cat([is_label_BK, is_cut_B1], dim=1)
        return _Decoupled(pair, is_target_BO, _log_sum_but(is_target_BO, pair.log_p_BO))
    log_p_others_B = log_p_BC.scatter(1, labels_B1, OUT).logsumexp(dim=1)
    log_p_label_B1 = log_p_BC.gather(1, labels_B1)
    with_label, is_target_BO = _with_cut_label(pair, log_p_label_B1, is_label_BK, is_cut_B1)
    return _Decoupled(with_label, is_target_BO, log_p_others_B)


def _with_cut_label(
    pair: Outcomes, log_p_label_B1: Tensor, is_label_BK: Tensor, is_cut_B1: Tensor
) -> tuple[Outcomes, Tensor]:
    """Add an outcome for labels that were cut off, empty in the other rows, and take it out of the tail."""
    log_p_cut_B1 = torch.where(is_cut_B1, log_p_label_B1, OUT)
    if pair.size_B is None:
        log_q_cut_B1 = torch.full_like(log_p_cut_B1, -torch.inf)
        added = Outcomes(
            torch.cat([pair.log_q_BO, log_q_cut_B1], dim=1), torch.cat([pair.log_p_BO, log_p_cut_B1], dim=1)
        )
        return added, torch.cat([is_label_BK, is_cut_B1], dim=1)
    size_B = pair.size_B - is_cut_B1[:, 0].long()
    sum_B = pair.size_B * pair.log_p_BO[:, -1] - torch.where(is_cut_B1, log_p_label_B1, 0.0)[:, 0]
    log_q_tail_B1 = pair.log_q_BO[:, -1:]
    log_q_cut_B1 = torch.where(is_cut_B1, log_q_tail_B1, -torch.inf)
    added = Outcomes(
        torch.cat([pair.log_q_BO[:, :-1], log_q_cut_B1, log_q_tail_B1], dim=1),
        torch.cat([pair.log_p_BO[:, :-1], log_p_cut_B1, (sum_B / size_B.clamp(min=1))[:, None]], dim=1),
        size_B,
    )
    return added, torch.cat([is_label_BK, is_cut_B1, torch.zeros_like(is_cut_B1)], dim=1)


def _log_sum_but(is_target_BO: Tensor, log_p_BO: Tensor) -> Tensor:
    return torch.where(is_target_BO, OUT, log_p_BO).logsumexp(dim=1)
