"""Losses against cached teacher targets and against labels; docs/training.md has the equations."""

from kdcache.losses.distill import hard, kl
from kdcache.losses.targets import TeacherTargets
from kdcache.losses.task import label_loss

__all__ = ["TeacherTargets", "hard", "kl", "label_loss"]
