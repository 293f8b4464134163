"""The distillation losses by name: what each means, and one call for all."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from kdcache.errors import ConfigError
from kdcache.losses.binary import bce
from kdcache.losses.decoupled import dkd
from kdcache.losses.distill import hard, kl, soft_ce
from kdcache.losses.divergences import jsd, reverse_kl
from kdcache.losses.outcomes import Tail
from kdcache.losses.relation import dist
from kdcache.losses.standardised import logit_std
from kdcache.losses.targets import TeacherTargets

__all__ = ["DISTILL_LOSSES", "DistillLoss", "distill_loss"]


@dataclass(frozen=True, slots=True)
class DistillLoss:
    """One loss against cached targets, and which settings have a meaning for it.

    Attributes:
        name: what settings call it.
        compute: the function; it takes the student's logits, the targets and the keywords that apply.
        softens: the temperature has a meaning.
        has_tail: the tail policy has a meaning.
        needs_dense: it needs a target for every class, so it is an approximation on a top-k cache.
        needs_labels: it needs the labels of the rows.
        options: its own numeric options with their defaults.
    """

    name: str
    compute: Callable[..., Tensor]
    softens: bool = True
    has_tail: bool = True
    needs_dense: bool = False
    needs_labels: bool = False
    options: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


_ALL = (
    DistillLoss("kl", kl),
    DistillLoss("ce", soft_ce, softens=False),
    DistillLoss("hard", hard, softens=False, has_tail=False),
    DistillLoss("dkd", dkd, needs_labels=True, options=MappingProxyType({"alpha": 1.0, "beta": 8.0})),
    DistillLoss(
        "dist",
        dist,
        has_tail=False,
        needs_dense=True,
        options=MappingProxyType({"beta": 1.0, "gamma": 1.0}),
    ),
    DistillLoss("logit-std", logit_std),
    DistillLoss("bce", bce, has_tail=False, needs_dense=True),
    DistillLoss("reverse-kl", reverse_kl),
    DistillLoss("jsd", jsd, options=MappingProxyType({"beta": 0.5})),
)

DISTILL_LOSSES: Mapping[str, DistillLoss] = MappingProxyType({loss.name: loss for loss in _ALL})
"""Every distillation loss by its name."""


def distill_loss(
    name: str,
    student_logits_BC: Tensor,
    teacher: TeacherTargets,
    *,
    temperature: float = 1.0,
    tail: Tail = "bucket",
    labels_B: Tensor | None = None,
    options: Mapping[str, float] | None = None,
) -> Tensor:
    """Return the loss ``name``, a float32 scalar: the mean over the rows that count.

    ``temperature``, ``tail`` and ``labels_B`` go to the losses for which they have a meaning
    (``DISTILL_LOSSES`` says which) and are not looked at by the others. ``temperature`` may change from step to
    step. ``options`` are the loss's own; those left out have their defaults.

    Raises:
        ConfigError: there is no such loss or option, labels are needed and missing, or the loss refuses its
            settings.
    """
    if name not in DISTILL_LOSSES:
        raise ConfigError(f"distill loss {name!r}: {_expected(name, DISTILL_LOSSES)}")
    loss = DISTILL_LOSSES[name]
    keywords: dict[str, Any] = dict(loss.options)
    for option, value in (options or {}).items():
        if option not in loss.options:
            raise ConfigError(
                f"option {option!r} of distill loss {name!r}: {_expected(option, loss.options)}"
            )
        keywords[option] = value
    if loss.softens:
        keywords["temperature"] = temperature
    if loss.has_tail:
        keywords["tail"] = tail
    if loss.needs_labels:
        if labels_B is None:
            raise ConfigError(f"distill loss {name!r} needs the labels of the rows; give labels_B")
        keywords["labels_B"] = labels_B
    return loss.compute(student_logits_BC, teacher, **keywords)


def _expected(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    if not names:
        return "it has no options"
    near = difflib.get_close_matches(wrong, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}expected one of {', '.join(names)}"
