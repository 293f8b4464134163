"""The tail's mass at any temperature, another one for each row.

With s = 1/T and z the logits relative to the best one, A(s) = log sum exp(s z) over the kept classes is known
at every s. B(s), the same sum over the classes that were cut off, is known at s = 1, 1/2 and 1/4 (the head's
log-odds plus A) and at s = 0, where it is the log of their number, its slope their mean and its curvature
their variance (the head's mean and deviation, less the kept classes). The log-odds are B - A. B is convex and
almost straight, so that it is interpolated far more closely than the log-odds themselves:

- 1/4 <= s <= 1 (T from 1 to 4): the cubic through the four known values;
- s < 1/4 (T > 4, without an upper end): the quartic that also has the known slope at 0;
- s > 1 (T < 1): its slope grows from the cubic's at 1 towards the worst kept logit, which no class of the tail
  exceeds. The distance g decays as exp(-r (s - 1)) with r = v g / (v + g^2): the curvature r g at 1 is the
  tail's variance v where the logits lie close together, and g^2, that of a crowd of classes just below the
  worst kept one, where they lie far apart.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdcache.logits import TAIL_TEMPERATURES
from kdcache.losses.targets import TeacherTargets

__all__ = ["tail_log_odds_by_row"]

_NODES = (0.0, *(1.0 / temperature for temperature in reversed(TAIL_TEMPERATURES)))
_SMALLEST = 1e-6


def tail_log_odds_by_row(teacher: TeacherTargets, temperature_B: Tensor) -> Tensor:
    """Return log(tail mass / kept mass) at each row's temperature, (B,); -inf where nothing was cut off.

    Classes without a logit (-inf) beside a tail are counted as classes of the tail, which is then off.
    """
    if teacher.class_ids_BK is None:
        return torch.full_like(teacher.top1_B, -torch.inf)
    log_odds_B3 = torch.where(teacher.valid_B[:, None], teacher.tail_log_odds_B3, -torch.inf)
    has_tail_B = log_odds_B3[:, 0] > -torch.inf
    has_tail_B1 = has_tail_B[:, None]
    # Rows without a tail compute with zeros, and are overwritten at the end.
    below_BK = torch.where(has_tail_B1, teacher.logits_BK - teacher.top1_B[:, None], 0.0)
    log_odds_B3 = torch.where(has_tail_B1, log_odds_B3, 0.0)
    values = [
        log_odds_B3[:, i] + _log_sum(below_BK, 1.0 / temperature)
        for i, temperature in enumerate(TAIL_TEMPERATURES)
    ]
    num_tail = max(teacher.num_classes - below_BK.shape[1], 1)
    values.append(torch.full_like(values[0], math.log(num_tail)))
    mean_B = torch.where(has_tail_B, teacher.mean_B, 0.0)
    tail_mean_B = (teacher.num_classes * mean_B - below_BK.sum(dim=1)) / num_tail
    inverse_B = 1.0 / temperature_B
    inside_B = _inside(values[::-1], tail_mean_B, inverse_B.clamp(max=1.0))
    square_B = torch.where(has_tail_B, teacher.std_B, 0.0).square() + mean_B.square()
    tail_square_B = (teacher.num_classes * square_B - below_BK.square().sum(dim=1)) / num_tail
    variance_B = (tail_square_B - tail_mean_B.square()).clamp(min=_SMALLEST)
    beyond_B = _beyond(values[::-1], variance_B, below_BK[:, -1], (inverse_B - 1.0).clamp(min=0.0))
    log_tail_B = inside_B + beyond_B
    return torch.where(has_tail_B, log_tail_B - _log_sum(below_BK, inverse_B[:, None]), -torch.inf)


def _log_sum(below_BK: Tensor, inverse: float | Tensor) -> Tensor:
    return (below_BK * inverse).logsumexp(dim=1)


def _inside(values: Sequence[Tensor], slope_at_0_B: Tensor, s_B: Tensor) -> Tensor:
    """Return B(s) for s up to 1 from its values at the nodes and its slope at 0."""
    cubic_B = _mixed([_weight(i, s_B) for i in range(4)], values)
    off_B = slope_at_0_B - _mixed([_slope(i, 0.0) for i in range(4)], values)
    bend_B = s_B
    for node in _NODES[1:]:
        bend_B = bend_B * (node - s_B) / node
    return cubic_B + torch.where(s_B < _NODES[1], bend_B * off_B, 0.0)


def _beyond(values: Sequence[Tensor], variance_B: Tensor, highest_B: Tensor, beyond_B: Tensor) -> Tensor:
    """Return B(1 + ``beyond_B``) - B(1); the slope never exceeds ``highest_B``."""
    secant_B = (values[3] - values[2]) / (_NODES[3] - _NODES[2])
    slope_B = torch.maximum(_mixed([_slope(i, 1.0) for i in range(4)], values), secant_B)
    gap_B = (highest_B - slope_B).clamp(min=0.0)
    rate_B = (variance_B * gap_B / (variance_B + gap_B.square())).clamp(min=_SMALLEST)
    return beyond_B * highest_B + gap_B * torch.expm1(-rate_B * beyond_B) / rate_B


def _mixed(weights: Sequence[Tensor | float], values: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(values[0])
    for weight, value_B in zip(weights, values, strict=True):
        total = total + weight * value_B
    return total


def _weight(index: int, s_B: Tensor) -> Tensor:
    """Return Lagrange's weight of a node at ``s_B``."""
    weight_B = torch.ones_like(s_B)
    for other in _others(index):
        weight_B = weight_B * (s_B - other) / (_NODES[index] - other)
    return weight_B


def _slope(index: int, at: float) -> float:
    """Return the derivative of Lagrange's weight of a node."""
    others = _others(index)
    products = [math.prod(at - other for other in others if other != left) for left in others]
    return sum(products) / math.prod(_NODES[index] - other for other in others)


def _others(index: int) -> list[float]:
    return [node for node in _NODES if node != _NODES[index]]
