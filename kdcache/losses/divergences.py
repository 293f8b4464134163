"""Divergences other than the teacher's KL: reverse KL and Jensen-Shannon, with a tail bucket.

Both weigh by the student's own probabilities, so all of its mass must be compared with something: the tail
is one outcome for teacher and student alike, and no other tail policy is offered.
"""

import math

import torch
from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.losses.outcomes import (
    Tail,
    check,
    check_tail,
    divergence,
    mean_over,
    outcomes,
    student_log_probs,
)
from kdcache.losses.targets import TeacherTargets

__all__ = ["jsd", "reverse_kl"]

_SMALLEST = -126.0 * math.log(2.0)


def reverse_kl(
    student_logits_BC: Tensor, teacher: TeacherTargets, *, temperature: float = 1.0, tail: Tail = "bucket"
) -> Tensor:
    """Return T^2 * KL(p || q), the mean over rows with targets (mode-seeking: Gu et al. 2024, arXiv:2306.08543).

    Where the teacher rules a class out (a logit of -inf), KL(p || q) is infinite; probabilities of the teacher
    below 2^-126, float32's smallest normal number, count as that number. On a cut cache it is the divergence
    of the coarsened distributions, so never more than the dense one. Computed in float32 also under autocast.

    Raises:
        ConfigError: ``tail`` is not ``bucket``, the student has another number of classes than the teacher,
            or ``temperature`` is not above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    check_tail(tail, loss="reverse-kl", allowed=("bucket",))
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = student_log_probs(student_logits_BC, temperature)
        pair = outcomes(log_p_BC, teacher, temperature=temperature, tail="bucket")
        log_q_BO = pair.log_q_BO.clamp(min=_SMALLEST)
        loss_B = pair.total(divergence(pair.log_p_BO, log_q_BO))
        return temperature**2 * mean_over(loss_B, teacher.valid_B)


def jsd(
    student_logits_BC: Tensor,
    teacher: TeacherTargets,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    tail: Tail = "bucket",
) -> Tensor:
    """Return T^2 * (beta KL(q || m) + (1 - beta) KL(p || m)) with m = beta q + (1 - beta) p, the mean over rows.

    The generalised Jensen-Shannon divergence (Lin 1991; for distillation Agarwal et al. 2024,
    arXiv:2306.13649), symmetrical at ``beta`` 0.5. It is bounded, also where the teacher rules a class out.
    On a cut cache it is that of the coarsened distributions, so never more than the dense one. Computed in
    float32 also under autocast.

    Args:
        student_logits_BC: the student's logits.
        teacher: the cached targets.
        beta: the teacher's weight in the mixture, between 0 and 1. Near 0 the loss is beta * ``kl``.
        temperature: divides both logits before the softmax.
        tail: only ``bucket``.

    Raises:
        ConfigError: ``beta`` is not between 0 and 1, ``tail`` is not ``bucket``, the student has another number
            of classes than the teacher, or ``temperature`` is not above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    check_tail(tail, loss="jsd", allowed=("bucket",))
    if not 0.0 < beta < 1.0:
        raise ConfigError(
            f"beta {beta:g} of distill loss 'jsd': expected a number between 0 and 1, both excluded"
        )
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = student_log_probs(student_logits_BC, temperature)
        pair = outcomes(log_p_BC, teacher, temperature=temperature, tail="bucket")
        log_m_BO = torch.logaddexp(pair.log_q_BO + math.log(beta), pair.log_p_BO + math.log1p(-beta))
        of_teacher_BO = divergence(pair.log_q_BO, log_m_BO)
        of_student_BO = divergence(pair.log_p_BO, log_m_BO)
        loss_B = pair.total(beta * of_teacher_BO + (1.0 - beta) * of_student_BO)
        return temperature**2 * mean_over(loss_B, teacher.valid_B)
