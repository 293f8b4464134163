"""Binary cross-entropy with the teacher's probabilities as soft targets."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from kdcache.losses.outcomes import check, ids_to_gather, mean_over
from kdcache.losses.targets import TeacherTargets

__all__ = ["bce"]


def bce(student_logits_BC: Tensor, teacher: TeacherTargets, *, temperature: float = 1.0) -> Tensor:
    """Return the sum over classes of the binary cross-entropy of sigmoid(z) with q, the mean over rows.

    ``sum_c softplus(z_c) - q_c z_c``, the loss of "ResNet strikes back" (Wightman et al. 2021,
    arXiv:2110.00476) with the teacher's softmax probabilities for labels. timm's is this divided by C.
    ``temperature`` softens the targets only; the student's logits stay as they are, so there is no T^2.

    It needs a target for every class. On a cut cache the tail's mass is spread evenly over the classes that
    were cut off, which is an approximation; no (B, C) teacher tensor is made. Computed in float32 also under
    autocast.

    Raises:
        ConfigError: the student has another number of classes than the teacher, or ``temperature`` is not
            above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        logits_BC = student_logits_BC.float()
        loss_B = softplus(logits_BC).sum(dim=1) - _expected_logit(logits_BC, teacher, temperature)
        return mean_over(loss_B, teacher.valid_B)


def _expected_logit(logits_BC: Tensor, teacher: TeacherTargets, temperature: float) -> Tensor:
    """Return sum_c q_c z_c, (B,), with the tail spread evenly."""
    kept_BK = teacher.kept_log_probs(temperature).exp()
    if teacher.class_ids_BK is None:
        return (kept_BK * logits_BC).sum(dim=1)
    ids_BK = ids_to_gather(teacher.class_ids_BK)
    is_tail_BC = torch.ones_like(logits_BC, dtype=torch.bool).scatter(1, ids_BK, value=False)
    tail_mean_B = torch.where(is_tail_BC, logits_BC, 0.0).sum(dim=1) / is_tail_BC.sum(dim=1).clamp(min=1)
    kept_B = (kept_BK * logits_BC.gather(1, ids_BK)).sum(dim=1)
    return kept_B + teacher.tail_log_mass(temperature).exp() * tail_mean_B
