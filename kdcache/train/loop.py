"""The training loop: micro-batches become steps, epochs end in evaluations, safe points may end the run."""

import itertools
import time
from collections.abc import Callable, Iterator

import torch

from kdcache.data.batch import DistillBatch
from kdcache.errors import InterruptedRunError
from kdcache.runtime.dist import all_sum
from kdcache.train.appraisal import Appraisal, appraise, draw_conclusions
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.plan import Position
from kdcache.train.session import Session
from kdcache.train.state import snapshot
from kdcache.train.step import take_step
from kdcache.train.validation import Validation

__all__ = ["run_to_the_end", "undisturbed"]


def run_to_the_end(
    session: Session, validation: Validation | None, checkpoints: Checkpoints
) -> Appraisal | None:
    """Take all steps that are left; return the last evaluation.

    Raises:
        InterruptedRunError: SIGTERM or SIGINT came; the state was saved.
        KdcacheError: a loss is not finite, or the data cannot be read.
    """
    appraisal = None
    try:
        while True:
            for position in _epoch(session):
                if _checkpoint_due(session, position):
                    _save(session, checkpoints)
                _stop_if_asked(session)
            is_over = session.position.step >= session.plan.steps
            if validation is not None and (is_over or _evaluation_due(session)):
                appraisal = _evaluate(session, validation, checkpoints)
            if is_over:
                return appraisal
            session.position = Position(session.position.epoch + 1, 0, session.position.step)
    except InterruptedRunError:
        _save(session, checkpoints)
        raise


def undisturbed(start: Callable[[], Iterator[DistillBatch]]) -> Iterator[DistillBatch]:
    """Iterate without touching the random state of training: torch's DataLoader draws from it."""
    with torch.random.fork_rng(devices=[]):
        batches = start()
    while True:
        with torch.random.fork_rng(devices=[]):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _epoch(session: Session) -> Iterator[Position]:
    """Take the rest of the epoch's steps, or of the run's; yield the position after each of them."""
    start = session.position
    batches = undisturbed(lambda: session.loader.epoch(start.epoch, start=start.micro_batch))
    session.model.train()
    while session.position.step < session.plan.steps:
        window = list(itertools.islice(batches, session.plan.accumulate))
        if not window:
            return
        loss = take_step(session, window)
        at = session.position
        session.position = Position(at.epoch, at.micro_batch + len(window), at.step + 1)
        session.scheduler.step_update(session.position.step)
        session.progress.advance(1, f"loss {loss:.3f}")
        if session.position.step % session.config.log_interval == 0:
            _log(session)
        yield session.position


def _checkpoint_due(session: Session, position: Position) -> bool:
    every = session.config.checkpoint_interval or session.plan.steps_per_epoch
    return position.step % every == 0 or position.step == session.plan.steps


def _save(session: Session, checkpoints: Checkpoints) -> None:
    state = snapshot(session)
    if session.world.is_main:
        checkpoints.save(state, step=session.position.step)


def _evaluation_due(session: Session) -> bool:
    every = session.config.val_interval
    return every > 0 and (session.position.epoch + 1) % every == 0


def _evaluate(session: Session, validation: Validation, checkpoints: Checkpoints) -> Appraisal:
    # Processes may have unequal numbers of batches here, so only a lone one can ask in between.
    each = (lambda: None) if session.world.size > 1 else (lambda: _stop_if_asked(session))
    appraisal = appraise(session, validation, each)
    # A state is saved before its figures are known: whoever goes on from it evaluates it again.
    if session.config.checkpoint_hist and not _checkpoint_due(session, session.position):
        _save(session, checkpoints)
    draw_conclusions(session, appraisal, checkpoints)
    return appraisal


def _stop_if_asked(session: Session) -> None:
    """Stop here if this process, or any of the others, was told to.

    Raises:
        InterruptedRunError: it was.
    """
    asked = torch.tensor(int(session.interrupts.requested), device=session.device)
    if int(all_sum(asked, session.world)):
        message = (
            f"the state after step {session.position.step:,} of {session.plan.steps:,} is saved in "
            f"{session.config.out}; add --resume to the same command to go on"
        )
        session.interrupts.raise_if_requested(message)
        raise InterruptedRunError(f"another process of the run was stopped: {message}")


def _log(session: Session) -> None:
    """Write the means since the last line, over all processes."""
    session.tally.sums_N2.copy_(all_sum(session.tally.sums_N2, session.world))
    means, rows = session.tally.means(), session.tally.count("loss")
    totals = session.totals.of_all(session.world, session.device)
    session.tally.reset()
    now = time.monotonic()
    if session.world.is_main:
        session.journal.write(
            "train",
            step=session.position.step,
            epoch=session.position.epoch,
            **means,
            lr=session.optimizer.param_groups[0]["lr"],
            **session.scaler.facts,
            rows=rows,
            rows_without_targets=totals.rows_without_targets,
            views_checked=totals.views_checked,
            views_drifted=totals.views_drifted,
            images_per_second=round(rows / max(now - session.last_log, 1e-9), 1),
        )
    session.last_log = now
