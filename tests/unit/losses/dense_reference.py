"""The losses by their equations: float64, all classes written out, nothing shared with the code under test."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["CASES", "DENSE_CASES", "OPTIONS", "reference"]

OPTIONS: Mapping[str, Mapping[str, float]] = {
    "dkd": {"alpha": 1.0, "beta": 8.0},
    "dist": {"beta": 1.0, "gamma": 1.0},
    "jsd": {"beta": 0.5},
}

CASES = (
    *[(name, tail) for name in ("kl", "ce", "dkd", "logit-std") for tail in ("bucket", "uniform", "drop")],
    ("hard", "bucket"),
    ("dist", "uniform"),
    ("bce", "uniform"),
    ("reverse-kl", "bucket"),
    ("jsd", "bucket"),
)
"""Every loss under every tail policy it has; dist and bce know only ``uniform``, under whatever name."""

DENSE_CASES = tuple(dict.fromkeys(name for name, _ in CASES))


def reference(
    name: str,
    student_BC: Tensor,
    teacher_BC: Tensor,
    *,
    temperature: float = 1.0,
    tail: str = "bucket",
    k: int | None = None,
    tail_log_odds_B: Tensor | None = None,
    labels_B: Tensor | None = None,
    options: Mapping[str, float] | None = None,
) -> Tensor:
    """Return the loss of all rows given the teacher's logits; ``k`` None is the dense loss.

    ``tail_log_odds_B`` replaces what the teacher's logits say of the tail's mass.
    """
    student_BC, teacher_BC = student_BC.double(), teacher_BC.double()
    logits_BC = student_BC
    if name == "logit-std":
        student_BC, teacher_BC = _z_scores(student_BC), _z_scores(teacher_BC)
    if name in {"ce", "hard"}:
        temperature = 1.0
    if name == "hard":
        k = None  # the best class is never cut off
    q, p = torch.softmax(teacher_BC / temperature, dim=1), torch.softmax(student_BC / temperature, dim=1)
    outcome_BC = torch.arange(q.shape[1]).expand_as(q)
    if k is not None:
        order = torch.argsort(teacher_BC, dim=1, descending=True, stable=True)
        q, p, outcome_BC = _cut(_with_tail(q, order[:, :k], tail_log_odds_B), p, order, tail, k)
    keywords = dict(OPTIONS.get(name, {})) | dict(options or {})
    if name == "dkd":
        assert labels_B is not None
        keywords["target"] = outcome_BC.gather(1, labels_B[:, None])  # type: ignore[assignment]
    if name == "bce":
        return (
            torch.nn.functional.binary_cross_entropy_with_logits(logits_BC, q, reduction="none")
            .sum(dim=1)
            .mean()
        )
    factor = 1.0 if name in {"ce", "hard"} else temperature**2
    return factor * _EQUATIONS[name](q, p, **keywords).mean()


def _z_scores(logits_BC: Tensor) -> Tensor:
    finite = logits_BC.isfinite()
    count = finite.sum(dim=1, keepdim=True)
    mean = torch.where(finite, logits_BC, 0.0).sum(dim=1, keepdim=True) / count
    variance = torch.where(finite, (logits_BC - mean) ** 2, 0.0).sum(dim=1, keepdim=True) / count
    return (logits_BC - mean) / variance.sqrt()


def _with_tail(q: Tensor, kept_BK: Tensor, tail_log_odds_B: Tensor | None) -> Tensor:
    """Return q with another mass outside the kept classes."""
    if tail_log_odds_B is None:
        return q
    is_kept = torch.zeros_like(q, dtype=torch.bool).scatter(1, kept_BK, value=True)
    odds_B1 = tail_log_odds_B.double()[:, None]
    kept, cut = (
        torch.where(part, q, 0.0).sum(dim=1, keepdim=True).clamp(min=1e-300) for part in (is_kept, ~is_kept)
    )
    return torch.where(is_kept, q * torch.sigmoid(-odds_B1) / kept, q * torch.sigmoid(odds_B1) / cut)


def _cut(q: Tensor, p: Tensor, order: Tensor, tail: str, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, p over the outcomes of a cut to ``k`` classes, and the outcome of each class."""
    classes = torch.arange(q.shape[1]).expand_as(q)
    rank = torch.argsort(order, dim=1)
    kept = rank < k
    if tail == "drop":
        return torch.where(kept, q, 0.0) / torch.where(kept, q, 0.0).sum(dim=1, keepdim=True), p, classes
    if tail == "uniform":
        share = torch.where(kept, 0.0, q).sum(dim=1, keepdim=True) / max(q.shape[1] - k, 1)
        return torch.where(kept, q, share), p, classes
    coarse_q, coarse_p = (
        torch.cat([x.gather(1, order[:, :k]), x.gather(1, order[:, k:]).sum(dim=1, keepdim=True)], dim=1)
        for x in (q, p)
    )
    return coarse_q, coarse_p, rank.clamp(max=k)


def _kl(q: Tensor, p: Tensor) -> Tensor:
    return (q * torch.where(q > 0, q / p, 1.0).log()).sum(dim=1)


def _ce(q: Tensor, p: Tensor) -> Tensor:
    return -(q * torch.where(q > 0, p, 1.0).log()).sum(dim=1)


def _hard(q: Tensor, p: Tensor) -> Tensor:
    return -p.gather(1, q.argmax(dim=1, keepdim=True)).log()[:, 0]


def _reverse_kl(q: Tensor, p: Tensor) -> Tensor:
    return _kl(p, q.clamp(min=2.0**-126))


def _jsd(q: Tensor, p: Tensor, *, beta: float) -> Tensor:
    m = beta * q + (1 - beta) * p
    return beta * _kl(q, m) + (1 - beta) * _kl(p, m)


def _dkd(q: Tensor, p: Tensor, *, alpha: float, beta: float, target: Tensor) -> Tensor:
    is_target = torch.zeros_like(q, dtype=torch.bool).scatter(1, target, value=True)
    q_t, p_t = q.gather(1, target), p.gather(1, target)
    # 1 - q_t, as a sum; where it is 0 there is no distribution over the others, and no term.
    q_rest, p_rest = (torch.where(is_target, 0.0, x).sum(dim=1, keepdim=True) for x in (q, p))
    tckd = _kl(torch.cat([q_t, q_rest], dim=1), torch.cat([p_t, p_rest], dim=1))
    q_hat = torch.where(is_target, 0.0, q) / torch.where(q_rest > 0, q_rest, 1.0)
    return alpha * tckd + beta * _kl(q_hat, torch.where(is_target, 1.0, p / p_rest))


def _dist(q: Tensor, p: Tensor, *, beta: float, gamma: float) -> Tensor:
    inter, intra = 1 - _pearson(q, p).mean(), 1 - _pearson(q.T, p.T).mean()
    return beta * inter + gamma * intra


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    norm_a, norm_b = (x.square().sum(dim=1).clamp(min=1e-16).sqrt() for x in (a, b))
    return (a * b).sum(dim=1) / (norm_a * norm_b)


_EQUATIONS: Mapping[str, Callable[..., Tensor]] = {
    "kl": _kl,
    "ce": _ce,
    "hard": _hard,
    "reverse-kl": _reverse_kl,
    "jsd": _jsd,
    "dkd": _dkd,
    "dist": _dist,
    "logit-std": _kl,
}
