"""Runs that die in the middle, without the cost of a process."""

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

import pytest

from kdcache.config.train import TrainConfig
from kdcache.data.batch import DistillBatch
from kdcache.train import train
from kdcache.train.report import TrainReport
from kdcache.train.session import Session
from kdcache.train.step import take_step

__all__ = ["Death", "dying_after", "train_with_deaths"]


class Death(BaseException):
    """The end of a run that saves nothing on its way out, as by kill -9."""


@contextlib.contextmanager
def dying_after(num_steps: int) -> Iterator[None]:
    """Let runs die once they have taken so many steps."""
    taken: list[object] = []

    def fatal(session: Session, window: Sequence[DistillBatch]) -> float:
        if len(taken) == num_steps:
            raise Death
        taken.append(session.position)
        return take_step(session, window)

    with mock.patch("kdcache.train.loop.take_step", fatal):
        yield


def train_with_deaths(config: TrainConfig, *deaths: int) -> TrainReport:
    """Train to the end; the attempts before the last die after so many steps each."""
    for num_steps in deaths:
        with dying_after(num_steps), pytest.raises(Death):
            train(config, resume=True)
    return train(config, resume=True)
