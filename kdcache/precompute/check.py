"""The teacher check: is this network, on these pictures, any better than chance?"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcache.config.views import ViewPolicy
from kdcache.errors import TeacherError

__all__ = ["TeacherCheck", "center_policy", "demand_logits"]

_LEVEL = 0.001


@dataclass(frozen=True, slots=True)
class TeacherCheck:
    """How often a teacher's first class was the label, on ``center`` views of labelled samples."""

    teacher: str
    correct: int
    labelled: int
    num_classes: int

    @property
    def top1(self) -> float:
        """The share of correct ones."""
        return self.correct / max(self.labelled, 1)

    @property
    def p_value(self) -> float:
        """The probability that guessing gets at least as many right."""
        return _binomial_tail(self.correct, self.labelled, 1.0 / self.num_classes)

    def summary(self) -> str:
        """Say the result in one line."""
        if not self.labelled:
            return f"teacher {self.teacher}: not checked, the samples looked at have no labels"
        return f"teacher {self.teacher}: top-1 {self.top1:.1%} on {self.labelled} labelled centre views"

    def demand_better_than_chance(self) -> None:
        """Refuse a teacher that guesses; too few labels to tell are no reason to.

        Raises:
            TeacherError: saying what may be wrong.
        """
        could_tell = _binomial_tail(self.labelled, self.labelled, 1.0 / self.num_classes) < _LEVEL
        if could_tell and self.p_value > _LEVEL:
            raise TeacherError(
                f"{self.summary()}; guessing among {self.num_classes} classes gives "
                f"{1.0 / self.num_classes:.1%}. Likely causes: weights that were never trained, classes in "
                "another order than the labels, another normalisation (--teacher-mean, --teacher-std). "
                "Nothing was written; --skip-teacher-check goes on all the same"
            )


def center_policy(policy: ViewPolicy) -> ViewPolicy:
    """Return the one plain view of a picture, at the size of ``policy``."""
    return ViewPolicy.named(
        "center",
        size=policy.size,
        crop_pct={"center": policy.crop_pct, "padded": 1.0}.get(policy.crop, 0.875),
        interpolation=policy.interpolation,
        max_pixels=policy.max_pixels,
    )


def demand_logits(logits_BC: Tensor, *, teacher: str) -> None:
    """Refuse probabilities: their softmax would be almost flat, and nothing later would notice.

    Raises:
        TeacherError: every row is non-negative and sums to one.
    """
    is_distribution = (logits_BC >= 0).all() and torch.allclose(
        logits_BC.sum(dim=1), torch.ones(len(logits_BC), device=logits_BC.device), atol=1e-3
    )
    if len(logits_BC) and bool(is_distribution):
        raise TeacherError(
            f"teacher {teacher!r} returns probabilities (every row sums to 1), expected logits; "
            "take the softmax off its end"
        )


def _binomial_tail(least: int, trials: int, chance: float) -> float:
    """Return the probability of at least ``least`` hits in ``trials``.

    >>> round(_binomial_tail(1, 2, 0.5), 3)
    0.75
    """
    log_ways = [
        math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
        for hits in range(least, trials + 1)
    ]
    return math.fsum(
        math.exp(ways + hits * math.log(chance) + (trials - hits) * math.log1p(-chance))
        for hits, ways in enumerate(log_ways, start=least)
    )
