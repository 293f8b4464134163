"""DIST: the student keeps the teacher's relations between classes and between samples."""

import torch
from torch import Tensor

from kdcache.losses.outcomes import check, ids_to_gather, mean_over, student_log_probs
from kdcache.losses.targets import TeacherTargets

__all__ = ["dist"]

_SMALLEST_NORM = 1e-8


def dist(
    student_logits_BC: Tensor,
    teacher: TeacherTargets,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Return T^2 * (beta * inter + gamma * intra), one minus Pearson correlations of probabilities.

    Huang et al. 2022, arXiv:2205.10536. inter = 1 - mean over rows of corr(p_b, q_b) across the classes; intra
    = 1 - mean over classes of corr(p_.c, q_.c) across the rows of the batch that have targets. Norms below
    1e-8 count as 1e-8, so a class whose probability does not vary correlates with nothing.

    It needs a target for every class. On a cut cache the tail's mass is spread evenly over the classes that
    were cut off, an approximation that is close for inter and rough for intra (docs/losses.md has figures);
    ``gamma`` 0 leaves intra out. No (B, C) teacher tensor is made on a cut cache. Computed in float32 also under
    autocast.

    Args:
        student_logits_BC: the student's logits; intra depends on which rows are in the batch.
        teacher: the cached targets.
        beta: weight of the relation between classes.
        gamma: weight of the relation between samples.
        temperature: divides both logits before the softmax.

    Raises:
        ConfigError: the student has another number of classes than the teacher, or ``temperature`` is not
            above 0.
    """
    check(student_logits_BC, teacher, temperature=temperature)
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        p_BC = student_log_probs(student_logits_BC, temperature).exp()
        relations = _dense if teacher.class_ids_BK is None else _sparse
        inter_B, intra_C = relations(p_BC, teacher, temperature)
        has_rows = teacher.valid_B.any()
        inter = mean_over(1.0 - inter_B, teacher.valid_B)
        intra = torch.where(has_rows, 1.0 - intra_C.mean(), 0.0)
        return temperature**2 * (beta * inter + gamma * intra)


def _dense(p_BC: Tensor, teacher: TeacherTargets, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the correlations of each row and of each class."""
    q_BC = teacher.kept_log_probs(temperature).exp()
    p_of_rows_BC, q_of_rows_BC = p_BC - 1.0 / p_BC.shape[1], q_BC - 1.0 / p_BC.shape[1]
    inter_B = _correlation(
        (p_of_rows_BC * q_of_rows_BC).sum(dim=1),
        p_of_rows_BC.square().sum(dim=1),
        q_of_rows_BC.square().sum(dim=1),
    )
    p_of_classes_BC, q_of_classes_BC = _centred(p_BC, teacher.valid_B), _centred(q_BC, teacher.valid_B)
    intra_C = _correlation(
        (p_of_classes_BC * q_of_classes_BC).sum(dim=0),
        p_of_classes_BC.square().sum(dim=0),
        q_of_classes_BC.square().sum(dim=0),
    )
    return inter_B, intra_C


def _sparse(p_BC: Tensor, teacher: TeacherTargets, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the same with q = u, the share of one class of the tail, plus d at the kept classes."""
    assert teacher.class_ids_BK is not None
    ids_BK = ids_to_gather(teacher.class_ids_BK)
    is_kept_BK = teacher.class_ids_BK >= 0
    num_tail_B = p_BC.shape[1] - is_kept_BK.sum(dim=1)
    u_B = teacher.tail_log_mass(temperature).exp() / num_tail_B.clamp(min=1)
    d_BK = torch.where(is_kept_BK, teacher.kept_log_probs(temperature).exp() - u_B[:, None], 0.0)
    inter_B = _between_classes(p_BC, ids_BK, d_BK, u_B, is_kept_BK)
    return inter_B, _between_rows(p_BC, ids_BK, d_BK, u_B, teacher.valid_B)


def _between_classes(p_BC: Tensor, ids_BK: Tensor, d_BK: Tensor, u_B: Tensor, is_kept_BK: Tensor) -> Tensor:
    """Return the correlation of each row; u drops out of the covariance, as p - 1/C sums to zero."""
    mean = 1.0 / p_BC.shape[1]
    p_centred_BC = p_BC - mean
    above_B = u_B - mean
    q_centred_BK = torch.where(is_kept_BK, d_BK + above_B[:, None], 0.0)
    num_tail_B = p_BC.shape[1] - is_kept_BK.sum(dim=1)
    return _correlation(
        (p_centred_BC.gather(1, ids_BK) * d_BK).sum(dim=1),
        p_centred_BC.square().sum(dim=1),
        q_centred_BK.square().sum(dim=1) + num_tail_B * above_B.square(),
    )


def _between_rows(p_BC: Tensor, ids_BK: Tensor, d_BK: Tensor, u_B: Tensor, valid_B: Tensor) -> Tensor:
    """Return the correlation of each class; d is summed where it is, u is a matrix-vector product."""
    p_centred_BC = _centred(p_BC, valid_B)
    u_centred_B = _centred(u_B[:, None], valid_B)[:, 0]
    d_BK = torch.where(valid_B[:, None], d_BK, 0.0)
    num_rows = valid_B.sum().clamp(min=1)

    def summed(values_BK: Tensor) -> Tensor:
        return p_BC.new_zeros(p_BC.shape[1]).index_add(0, ids_BK.flatten(), values_BK.flatten())

    covariance_C = u_centred_B @ p_centred_BC + summed(d_BK * p_centred_BC.gather(1, ids_BK))
    d_spread_C = summed(d_BK.square()) - summed(d_BK).square() / num_rows
    q_spread_C = u_centred_B.square().sum() + 2.0 * summed(d_BK * u_centred_B[:, None]) + d_spread_C
    return _correlation(covariance_C, p_centred_BC.square().sum(dim=0), q_spread_C)


def _centred(values_BC: Tensor, valid_B: Tensor) -> Tensor:
    """Take the mean over the valid rows from each column; the other rows become zero."""
    valid_B1 = valid_B[:, None]
    counted_BC = torch.where(valid_B1, values_BC, 0.0)
    mean_C = counted_BC.sum(dim=0) / valid_B.sum().clamp(min=1)
    return torch.where(valid_B1, counted_BC - mean_C, 0.0)


def _correlation(covariance: Tensor, p_spread: Tensor, q_spread: Tensor) -> Tensor:
    """Return Pearson's correlation, given sums of products and of squares."""
    smallest = _SMALLEST_NORM**2
    return covariance / (p_spread.clamp(min=smallest).sqrt() * q_spread.clamp(min=smallest).sqrt())
