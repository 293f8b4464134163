"""Losses against a teacher's cached targets.

``q`` is the teacher's distribution at temperature T, rebuilt from the kept classes and the tail's mass; ``p``
is the student's softmax at T. Everything is computed from the kept classes and one tail term per row: no
(B, C) teacher tensor is made. Rows without targets contribute nothing; means run over the others.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from kdcache.errors import ConfigError
from kdcache.losses.targets import TeacherTargets

__all__ = ["Tail", "hard", "kl"]

Tail = Literal["bucket", "uniform", "drop"]

# Finite, so that a row whose every class is kept has an empty tail without a NaN in its gradient.
_OUT = -1e30


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
            classes were cut off and ``temperature`` is not in [1, 4].
    """
    _check_classes(student_logits_BC, teacher)
    if tail not in get_args(Tail):
        raise ConfigError(f"tail {tail!r}: expected one of {', '.join(get_args(Tail))}")
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = log_softmax(student_logits_BC.float() / temperature, dim=1)
        if teacher.class_ids_BK is None:
            loss_B = _divergence(teacher.kept_log_shares(temperature), log_p_BC).sum(dim=1)
        else:
            ids_BK = _ids_to_gather(teacher.class_ids_BK)
            loss_B = _SPARSE[tail](log_p_BC, ids_BK, teacher, temperature)
        return temperature**2 * _mean_over(loss_B, teacher.valid_B)


def hard(student_logits_BC: Tensor, teacher: TeacherTargets) -> Tensor:
    """Return the mean cross-entropy with the teacher's best class.

    The hard distillation of DeiT (Touvron et al. 2021, arXiv:2012.12877, section 4).

    Raises:
        ConfigError: the student has another number of classes than the teacher.
    """
    _check_classes(student_logits_BC, teacher)
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_p_BC = log_softmax(student_logits_BC.float(), dim=1)
        loss_B = -log_p_BC.gather(1, teacher.top_class_B.clamp(min=0)[:, None]).squeeze(1)
        return _mean_over(loss_B, teacher.valid_B)


def _bucket(log_p_BC: Tensor, ids_BK: Tensor, teacher: TeacherTargets, temperature: float) -> Tensor:
    kept_B = _divergence(teacher.kept_log_probs(temperature), log_p_BC.gather(1, ids_BK)).sum(dim=1)
    # The student's own tail is summed, not taken as 1 - kept: that would lose a tail below 1e-7.
    student_tail_B = log_p_BC.scatter(1, ids_BK, _OUT).logsumexp(dim=1)
    return kept_B + _divergence(teacher.tail_log_mass(temperature), student_tail_B)


def _uniform(log_p_BC: Tensor, ids_BK: Tensor, teacher: TeacherTargets, temperature: float) -> Tensor:
    kept_B = _divergence(teacher.kept_log_probs(temperature), log_p_BC.gather(1, ids_BK)).sum(dim=1)
    is_tail_BC = torch.ones_like(log_p_BC, dtype=torch.bool).scatter(1, ids_BK, value=False)
    num_tail_B = is_tail_BC.sum(dim=1).clamp(min=1)
    student_mean_B = torch.where(is_tail_BC, log_p_BC, 0.0).sum(dim=1) / num_tail_B
    return kept_B + _divergence(teacher.tail_log_mass(temperature), student_mean_B + num_tail_B.log())


def _drop(log_p_BC: Tensor, ids_BK: Tensor, teacher: TeacherTargets, temperature: float) -> Tensor:
    return _divergence(teacher.kept_log_shares(temperature), log_p_BC.gather(1, ids_BK)).sum(dim=1)


_SPARSE = {"bucket": _bucket, "uniform": _uniform, "drop": _drop}


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return q * (log q - log p), and zero, with a gradient of zero, where q is zero."""
    is_some = log_q > -torch.inf
    return torch.where(is_some, log_q.exp() * (torch.where(is_some, log_q, 0.0) - log_p), 0.0)


def _ids_to_gather(class_ids_BK: Tensor) -> Tensor:
    """Let places without a class point at the row's best one; they carry no mass."""
    return torch.where(class_ids_BK < 0, class_ids_BK[:, :1], class_ids_BK).clamp(min=0)


def _mean_over(loss_B: Tensor, valid_B: Tensor) -> Tensor:
    return torch.where(valid_B, loss_B, 0.0).sum() / valid_B.sum().clamp(min=1)


def _check_classes(student_logits_BC: Tensor, teacher: TeacherTargets) -> None:
    if student_logits_BC.shape[1] != teacher.num_classes:
        raise ConfigError(
            f"the student has {student_logits_BC.shape[1]} classes, the teacher's targets have "
            f"{teacher.num_classes}; build the student with num_classes={teacher.num_classes}"
        )
