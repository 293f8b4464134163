"""Everything that decides the rest of a run, as a checkpoint holds it."""

from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from kdcache.runtime.dist import all_sum
from kdcache.train.feature_learner import FeatureLearner
from kdcache.train.plan import Position
from kdcache.train.plateau import Plateau
from kdcache.train.session import Session, Totals, bare, unwrapped

__all__ = ["restore", "snapshot"]


def snapshot(session: Session) -> dict[str, Any]:
    """Return the state after the last step; every process must call it, one writes it.

    No scheduler but ``Plateau`` has a state of its own: the rates are a function of the step.
    """
    sums_N2 = all_sum(session.tally.sums_N2, session.world)
    learner = unwrapped(session.model)
    totals, at = session.totals.of_all(session.world, session.device), session.position
    return {
        "position": [at.epoch, at.micro_batch, at.step],
        "committed": session.loader.snapshot,
        "model": bare(session.model).state_dict(),
        "projectors": learner.losses.state_dict() if isinstance(learner, FeatureLearner) else None,
        "ema": None if session.ema is None else session.ema.module.state_dict(),
        "optimizer": session.optimizer.state_dict(),
        "plateau": session.scheduler.state_dict() if isinstance(session.scheduler, Plateau) else None,
        "scaler": session.scaler.state(),
        "rng": _gather(_rng_states(session.device), session),
        "tally": sums_N2.cpu(),
        "totals": list(astuple(totals)),
        "threads": torch.get_num_threads(),
        "journal_size": session.journal.size,
    }


def restore(session: Session, state: dict[str, Any]) -> None:
    """Go back to a snapshot, in every process."""
    bare(session.model).load_state_dict(state["model"])
    learner = unwrapped(session.model)
    if isinstance(learner, FeatureLearner):
        learner.losses.load_state_dict(state["projectors"])
    if session.ema is not None:
        session.ema.module.load_state_dict(state["ema"])
    session.optimizer.load_state_dict(state["optimizer"])
    if isinstance(session.scheduler, Plateau):
        session.scheduler.load_state_dict(state["plateau"])
    session.scaler.restore(state["scaler"])
    _set_rng_states(state["rng"][session.world.rank], session.device)
    session.position = Position(*state["position"])
    session.tally.reset()
    if session.world.is_main:  # sums over all processes, so one of them takes them over
        session.totals = Totals(*state["totals"])
        session.tally.sums_N2.copy_(state["tally"])
        session.journal.cut_back(state["journal_size"])


def _rng_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_rng_states(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


def _gather(states: list[Tensor], session: Session) -> list[list[Tensor]]:
    """Return the random states of all ranks."""
    world, columns = session.world, []
    for state in states:
        table = torch.zeros(world.size, len(state), dtype=torch.int32, device=session.device)
        table[world.rank] = state.to(session.device)
        columns.append(all_sum(table, world).to("cpu", torch.uint8))
    return [[column[rank].clone() for column in columns] for rank in range(world.size)]
