"""Teacher and student over the same outcomes: what the losses have in common.

``q`` is the teacher's distribution at temperature T, rebuilt from the kept classes and the tail's mass; ``p``
is the student's softmax at T. The tail policy says what the classes outside the kept ones are. Everything is
computed from the kept classes and one tail term per row: no (B, C) teacher tensor is made where classes were
cut off. Probabilities are held as logarithms, in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from kdcache.errors import ConfigError
from kdcache.losses.targets import TeacherTargets

__all__ = [
    "OUT",
    "TAILS",
    "Outcomes",
    "Tail",
    "check",
    "check_tail",
    "divergence",
    "ids_to_gather",
    "mean_over",
    "outcomes",
    "pair_up",
    "student_log_probs",
]

Tail = Literal["bucket", "uniform", "drop"]

TAILS: tuple[Tail, ...] = get_args(Tail)

OUT = -1e30
"""A student's log-probability of nothing. Finite, so that a row whose every class is kept has an empty tail
without a NaN in its gradient."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Both distributions over O outcomes.

    Attributes:
        log_q_BO: the teacher's; -inf where it has no mass.
        log_p_BO: the student's; ``OUT`` in places without a class.
        size_B: None, or how many classes the last outcome stands for, one by one: ``log_q`` is then that of
            each of them, and ``log_p`` their mean (so sums over terms linear in ``log_p`` are exact).
    """

    log_q_BO: Tensor
    log_p_BO: Tensor
    size_B: Tensor | None = None

    def total(self, term_BO: Tensor) -> Tensor:
        """Return the sum over all classes of a term given per outcome, (B,)."""
        if self.size_B is None:
            return term_BO.sum(dim=1)
        return term_BO[:, :-1].sum(dim=1) + self.size_B * term_BO[:, -1]

    def log_total(self, log_BO: Tensor) -> Tensor:
        """Return the logarithm of the sum over all classes of what is given per outcome as logarithms, (B,)."""
        if self.size_B is None:
            return log_BO.logsumexp(dim=1)
        return torch.logaddexp(log_BO[:, :-1].logsumexp(dim=1), log_BO[:, -1] + self.size_B.log())


def outcomes(log_p_BC: Tensor, teacher: TeacherTargets, *, temperature: float, tail: Tail) -> Outcomes:
    """Return the teacher at ``temperature`` beside the student's log-probs, under a tail policy."""
    is_needed = tail != "drop" and teacher.class_ids_BK is not None
    return pair_up(
        log_p_BC,
        teacher.class_ids_BK,
        log_shares_BK=teacher.kept_log_shares(temperature),
        tail_log_odds_B=teacher.tail_log_odds(temperature) if is_needed else None,
        tail=tail,
    )


def pair_up(
    log_p_BC: Tensor,
    class_ids_BK: Tensor | None,
    *,
    log_shares_BK: Tensor,
    tail_log_odds_B: Tensor | None,
    tail: Tail,
) -> Outcomes:
    """Return the outcomes of a tail policy, given the teacher's log-probs among the kept classes.

    ``tail_log_odds_B`` is log(tail mass / kept mass); None drops the tail, as ``drop`` does.
    """
    if class_ids_BK is None:
        return Outcomes(log_shares_BK, log_p_BC)
    ids_BK = ids_to_gather(class_ids_BK)
    log_p_BK = torch.where(class_ids_BK < 0, OUT, log_p_BC.gather(1, ids_BK))
    if tail == "drop" or tail_log_odds_B is None:
        return Outcomes(log_shares_BK, log_p_BK)
    log_q_BK = log_shares_BK + logsigmoid(-tail_log_odds_B)[:, None]
    log_q_tail_B = logsigmoid(tail_log_odds_B)
    if tail == "bucket":
        # The student's own tail is summed, not taken as 1 - kept: that would lose a tail below 1e-7.
        log_p_tail_B = log_p_BC.scatter(1, ids_BK, OUT).logsumexp(dim=1)
        return Outcomes(_with(log_q_BK, log_q_tail_B), _with(log_p_BK, log_p_tail_B))
    is_tail_BC = torch.ones_like(log_p_BC, dtype=torch.bool).scatter(1, ids_BK, value=False)
    size_B = is_tail_BC.sum(dim=1)
    some_B = size_B.clamp(min=1)
    mean_B = torch.where(is_tail_BC, log_p_BC, 0.0).sum(dim=1) / some_B
    return Outcomes(_with(log_q_BK, log_q_tail_B - some_B.log()), _with(log_p_BK, mean_B), size_B)


def student_log_probs(student_logits_BC: Tensor, temperature: float = 1.0) -> Tensor:
    """Return log p at ``temperature``, float32."""
    return log_softmax(student_logits_BC.float() / temperature, dim=1)


def divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return q * (log q - log p), and zero, with a gradient of zero, where q is zero."""
    is_some = log_q > -torch.inf
    return torch.where(is_some, log_q.exp() * (torch.where(is_some, log_q, 0.0) - log_p), 0.0)


def ids_to_gather(class_ids_BK: Tensor) -> Tensor:
    """Let places without a class point at the row's best one; they carry no mass."""
    return torch.where(class_ids_BK < 0, class_ids_BK[:, :1], class_ids_BK).clamp(min=0)


def mean_over(loss_B: Tensor, is_counted_B: Tensor) -> Tensor:
    """Return the mean over the rows that count; zero, with a gradient of zero, where none does."""
    return torch.where(is_counted_B, loss_B, 0.0).sum() / is_counted_B.sum().clamp(min=1)


def check(student_logits_BC: Tensor, teacher: TeacherTargets, *, temperature: float = 1.0) -> None:
    """Refuse a student of another class space and a temperature that is none.

    Raises:
        ConfigError: naming both numbers.
    """
    if student_logits_BC.shape[1] != teacher.num_classes:
        raise ConfigError(
            f"the student has {student_logits_BC.shape[1]} classes, the teacher's targets have "
            f"{teacher.num_classes}; build the student with num_classes={teacher.num_classes}"
        )
    if not temperature > 0:
        raise ConfigError(f"temperature {temperature:g}: expected a number above 0")


def check_tail(tail: str, *, loss: str, allowed: Sequence[Tail] = TAILS) -> None:
    """Refuse a tail policy that does not exist, or has no meaning for this loss.

    Raises:
        ConfigError: naming those that have.
    """
    if tail not in TAILS:
        raise ConfigError(f"tail {tail!r}: expected one of {', '.join(allowed)}")
    if tail not in allowed:
        raise ConfigError(
            f"tail {tail!r} has no meaning for distill loss {loss!r}: the student's mass outside the kept "
            f"classes has nothing to be compared with; expected {' or '.join(allowed)}"
        )


def _with(values_BK: Tensor, last_B: Tensor) -> Tensor:
    return torch.cat([values_BK, last_B[:, None]], dim=1)
