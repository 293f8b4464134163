"""The plain losses against a teacher's cached targets: ``kl``, soft cross-entropy and ``hard``.

``q`` is the teacher's distribution at temperature T, rebuilt from the kept classes and the tail's mass; ``p``
is the student's softmax at T. Rows without targets contribute nothing; means run over the others.
"""

import torch
from torch import Tensor

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

__all__ = ["Tail", "hard", "kl", "soft_ce"]


def kl(
    student_logits_BC: Tensor, teacher: TeacherTargets, *, temperature: float = 1.0, tail: Tail = "bucket"
) -> Tensor:
    """Return T^2 * KL(q || p), the mean over rows with targets (Hinton et al. 2015, arXiv:1503.02531).

    ``tail`` says what the classes outside the kept ones are: ``bucket``, one outcome for teacher and student
    alike (the KL of the two coarsened distributions, so never more than the dense one); ``uniform``, the
    teacher's tail spread evenly over them; ``drop``, nothing (the kept classes renormalised for the teacher,
    the student's softmax over all classes), only to reproduce other tools. Where every class is cached they
    are the same. Computed in float32 also under autocast.

    Raises:
        ConfigError: ``tail`` is unknown, the student has another number of classes than the teacher, or
            ``temperature`` is not above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    check_tail(tail, loss="kl")
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = student_log_probs(student_logits_BC, temperature)
        pair = outcomes(log_p_BC, teacher, temperature=temperature, tail=tail)
        loss_B = pair.total(divergence(pair.log_q_BO, pair.log_p_BO))
        return temperature**2 * mean_over(loss_B, teacher.valid_B)


def soft_ce(student_logits_BC: Tensor, teacher: TeacherTargets, *, tail: Tail = "bucket") -> Tensor:
    """Return the cross-entropy -sum q log p at T = 1, the mean over rows with targets.

    With ``uniform`` it is the loss of TinyViT (Wu et al. 2022, arXiv:2207.10666), whose caches spread the
    tail evenly; ``bucket`` and ``drop`` are as in ``kl``. Its gradient is that of ``kl`` at T = 1; its value
    is larger by the teacher's entropy.

    Raises:
        ConfigError: ``tail`` is unknown, or the student has another number of classes than the teacher.
    """
    check(student_logits_BC, teacher)
    check_tail(tail, loss="ce")
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        pair = outcomes(student_log_probs(student_logits_BC), teacher, temperature=1.0, tail=tail)
        is_some_BO = pair.log_q_BO > -torch.inf
        loss_B = pair.total(torch.where(is_some_BO, -pair.log_q_BO.exp() * pair.log_p_BO, 0.0))
        return mean_over(loss_B, teacher.valid_B)


def hard(student_logits_BC: Tensor, teacher: TeacherTargets) -> Tensor:
    """Return the mean cross-entropy with the teacher's best class.

    The hard distillation of DeiT (Touvron et al. 2021, arXiv:2012.12877, section 4).

    Raises:
        ConfigError: the student has another number of classes than the teacher.
    """
    check(student_logits_BC, teacher)
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = student_log_probs(student_logits_BC)
        loss_B = -log_p_BC.gather(1, teacher.top_class_B.clamp(min=0)[:, None]).squeeze(1)
        return mean_over(loss_B, teacher.valid_B)
