"""Stage two: train a student on cached views and targets; no teacher can be reached from here."""

from kdcache.train.report import TrainReport
from kdcache.train.run import describe, train

__all__ = ["TrainReport", "describe", "train"]
