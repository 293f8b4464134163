"""KL between standardised logits: teacher and student each divided by their own spread."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from kdcache.losses.outcomes import Tail, check, check_tail, divergence, mean_over, pair_up
from kdcache.losses.targets import TeacherTargets

__all__ = ["logit_std"]

_SMALLEST_DEVIATION = 1e-3


def logit_std(
    student_logits_BC: Tensor, teacher: TeacherTargets, *, temperature: float = 1.0, tail: Tail = "bucket"
) -> Tensor:
    """Return T^2 * KL(q || p) with q, p = softmax of the z-scores of the logits over T, the mean over rows.

    Sun et al. 2024, arXiv:2403.01494. A z-score is (z - mean) / deviation over all C classes; the mean leaves
    the softmax unchanged, so each row's temperature is T * deviation. The teacher's deviation is that of kept
    classes and tail together, so kept classes are standardised as they would be without a cut (up to the cache's
    1/64 nat). ``tail`` is as in ``kl``. Deviations below 0.001 count as 0.001. Computed in float32 also under autocast.

    Raises:
        ConfigError: ``tail`` is unknown, the student has another number of classes than the teacher, or
            ``temperature`` is not above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    check_tail(tail, loss="logit-std")
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        logits_BC = student_logits_BC.float()
        variance_B1 = logits_BC.var(dim=1, correction=0, keepdim=True)
        student_T_B1 = temperature * variance_B1.clamp(min=_SMALLEST_DEVIATION**2).sqrt()
        teacher_T_B = temperature * _deviation(teacher).clamp(min=_SMALLEST_DEVIATION)
        pair = pair_up(
            log_softmax(logits_BC / student_T_B1, dim=1),
            teacher.class_ids_BK,
            log_shares_BK=teacher.kept_log_shares(teacher_T_B[:, None]),
            tail_log_odds_B=None if tail == "drop" else teacher.tail_log_odds(teacher_T_B),
            tail=tail,
        )
        loss_B = pair.total(divergence(pair.log_q_BO, pair.log_p_BO))
        return temperature**2 * mean_over(loss_B, teacher.valid_B)


def _deviation(teacher: TeacherTargets) -> Tensor:
    """Return the deviation of each row's finite logits, kept or cut off; 1 for rows without targets."""
    tail_count_B, _, tail_mean_B, tail_std_B, _ = teacher.tail_B5.unbind(dim=1)
    is_some_BK = teacher.logits_BK.isfinite()
    below_BK = torch.where(is_some_BK, teacher.logits_BK - teacher.top1_B[:, None], 0.0)
    count_B = (tail_count_B + is_some_BK.sum(dim=1)).clamp(min=1)
    mean_B = (tail_count_B * tail_mean_B + below_BK.sum(dim=1)) / count_B
    squares_BK = torch.where(is_some_BK, (below_BK - mean_B[:, None]).square(), 0.0)
    tail_squares_B = tail_count_B * (tail_std_B.square() + (tail_mean_B - mean_B).square())
    deviation_B = ((squares_BK.sum(dim=1) + tail_squares_B) / count_B).sqrt()
    return torch.where(teacher.valid_B, deviation_B, 1.0)
