"""What follows from an evaluation: lines in the log, the next learning rate, the best states."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdcache.errors import ConfigError
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.evaluate import EvalReport
from kdcache.train.folder import BEST_WEIGHTS, save_weights
from kdcache.train.metrics import Figure
from kdcache.train.plateau import Plateau
from kdcache.train.session import Session, bare
from kdcache.train.validation import Validation

__all__ = ["Appraisal", "appraise", "draw_conclusions"]


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The evaluations of one moment: the student's, and that of the running mean of its weights."""

    student: EvalReport
    ema: EvalReport | None = None

    def facts(self) -> dict[str, Any]:
        """Return the figures by name; those of the mean begin with ``ema_``."""
        facts = self.student.facts()
        if self.ema is None:
            return facts
        of_ema = {name: value for name, value in self.ema.facts().items() if name not in _OF_THE_DATA}
        return facts | {f"ema_{name}": value for name, value in of_ema.items()}

    def figure(self, name: str) -> Figure:
        """Return what states are ranked by: the mean's figure where there is a mean, as in timm.

        Raises:
            ConfigError: this evaluation has no such figure.
        """
        value = getattr(self.ema or self.student, name)
        if value is None:
            raise ConfigError(
                f"eval_metric {name!r} has no value: the validation shards have no labels to compute it from; "
                "choose --eval-metric agreement or teacher_kl"
            )
        return Figure(name, value)

    def to_text(self) -> str:
        """Return the figures in one line, for people."""
        return self.student.to_text() + ("" if self.ema is None else f"; mean weights: {self.ema.to_text()}")


_OF_THE_DATA = frozenset({"samples", "labelled", "teacher_top1"})


def appraise(session: Session, validation: Validation, each: Callable[[], None]) -> Appraisal:
    """Evaluate the student and its mean; ``each`` is called after every batch and may raise."""
    models = [bare(session.model), *([] if session.ema is None else [session.ema.module])]
    with torch.random.fork_rng(devices=[]):
        reports = [validation.run(model, world=session.world, each=each) for model in models]
    return Appraisal(*reports)


def draw_conclusions(session: Session, appraisal: Appraisal, checkpoints: Checkpoints) -> None:
    """Log the figures, step a ``plateau``, keep a state that is among the best; every process must call it.

    The newest checkpoint must be that of the evaluated state where best states are kept.

    Raises:
        ConfigError: the figure that decides has no value.
    """
    config, position = session.config, session.position
    if session.world.is_main:
        session.journal.write("eval", step=position.step, epoch=position.epoch, **appraisal.facts())
        session.journal.summarise()
        session.progress.say(f"step {position.step:,}: {appraisal.to_text()}")
    if isinstance(session.scheduler, Plateau):
        session.scheduler.evaluated(position.step, appraisal.figure(config.eval_metric).value)
    if config.checkpoint_hist and session.world.is_main:
        is_best = checkpoints.keep_best(appraisal.figure(config.eval_metric), most=config.checkpoint_hist)
        if is_best:
            model = bare(session.model) if session.ema is None else session.ema.module
            save_weights(Path(config.out), model, name=BEST_WEIGHTS)
