"""Losses against cached teacher targets and against labels; docs/losses.md has the equations."""

from kdcache.losses.binary import bce
from kdcache.losses.decoupled import dkd
from kdcache.losses.distill import hard, kl, soft_ce
from kdcache.losses.divergences import jsd, reverse_kl
from kdcache.losses.feature import FeatureLoss
from kdcache.losses.registry import DISTILL_LOSSES, DistillLoss, distill_loss
from kdcache.losses.relation import dist
from kdcache.losses.standardised import logit_std
from kdcache.losses.targets import TeacherTargets
from kdcache.losses.task import label_loss

__all__ = [
    "DISTILL_LOSSES",
    "DistillLoss",
    "FeatureLoss",
    "TeacherTargets",
    "bce",
    "dist",
    "distill_loss",
    "dkd",
    "hard",
    "jsd",
    "kl",
    "label_loss",
    "logit_std",
    "reverse_kl",
    "soft_ce",
]
