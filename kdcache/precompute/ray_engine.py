"""Actors of a Ray cluster share the work: one a device, one call a unit; Ray restarts them and repeats calls."""

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdcache.errors import InterruptedRunError, KdcacheError, StoreError
from kdcache.precompute.plan import Plan, Task
from kdcache.precompute.prepare import Prepared
from kdcache.precompute.ray_actor import Answer, UnitActor
from kdcache.precompute.ray_board import Board
from kdcache.precompute.ray_cluster import connected
from kdcache.precompute.ray_crew import Crew, actor_config, crew_of, own_paths
from kdcache.precompute.report import PrecomputeReport, merged
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import Progress
from kdcache.store.layout import Unit

__all__ = ["run_ray"]

Standing = Callable[[int], str]

_POLL_SECONDS = 0.2
_RESTARTS = 10
"""Of one actor: an end to a teacher that kills its process every time. Ray does not count lost spot nodes."""


def run_ray(
    prepared: Prepared,
    work: Plan,
    interrupts: Interrupts,
    progress: Progress,
    standing: Standing,
) -> PrecomputeReport:
    """Let the actors of a Ray cluster do the work.

    Raises:
        ConfigError: there is no Ray, no such cluster, or it lacks what was asked for.
        InterruptedRunError: a signal came, or Ray gave up every actor.
        KdcacheError: what an actor met.
    """
    config = prepared.settings.config
    if not work.pending:
        return merged([], cache=config.cache, units_before=work.num_done)
    with connected(config, interrupts, lambda: standing(0)) as (ray, is_ours):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        crew = crew_of(config, nodes, own=prepared.settings.device.type)
        progress.say(
            f"{len(crew.devices)} Ray actors on {crew.devices[0]}, nodes in the cluster: {len(nodes)}"
        )
        run = _Run(ray, prepared, work, progress)
        try:
            run.start(crew)
            run.serve(interrupts, standing)
        finally:
            if not is_ours:
                run.close()
    _demand_all_there(prepared, work)
    report = merged([*run.reports.values()], cache=config.cache, units_before=work.num_done)
    return replace(report, units=run.units, workers=len(crew.devices))


@dataclass(eq=False)
class _Member:
    """An actor as this process sees it; ``calls`` is 0 until it has built its teachers."""

    number: int
    handle: Any
    place: str = ""
    calls: int = 0


class _Run:
    """Calls the actors until every task is done."""

    def __init__(self, ray: Any, prepared: Prepared, work: Plan, progress: Progress) -> None:
        self.reports: dict[str, PrecomputeReport] = {}
        self.units = 0
        self._ray = ray
        self._settings = prepared.settings
        self._group = prepared.writer.manifest.identity.seeds_per_group
        self._progress = progress
        self._board = Board(work.pending)
        self._members: list[_Member] = []
        self._calls: dict[Any, tuple[_Member, Task | None]] = {}

    def start(self, crew: Crew) -> None:
        """Ask Ray for the actors."""
        num_samples = sum(len(index) for index in self._settings.data.given)
        paths = os.pathsep.join([*own_paths(sys.path, here=str(Path.cwd())), "${PYTHONPATH}"])
        for number, device in enumerate(crew.devices):
            options = {
                "num_cpus": 1,
                "num_gpus": int(device == "cuda"),
                "max_restarts": _RESTARTS,
                "max_task_retries": -1,
                "scheduling_strategy": "SPREAD",
                "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
            }
            handle = self._ray.remote(**options)(UnitActor).remote(
                actor_config(self._settings, device, crew.per_node),
                grow=self._settings.grow,
                num_samples=-(-num_samples // len(crew.devices)),
            )
            member = _Member(number, handle)
            self._members.append(member)
            self._calls[handle.ready.remote()] = member, None

    def serve(self, interrupts: Interrupts, standing: Standing) -> None:
        """Hand out tasks and hear of them until none is left."""
        while not self._board.is_done:
            interrupts.raise_if_requested(standing(self.units))
            if not self._members:
                raise InterruptedRunError(f"Ray gave up every actor; {standing(self.units)}")
            self._feed()
            done, _ = self._ray.wait([*self._calls], timeout=_POLL_SECONDS)
            for call in done:
                try:
                    self._hear(call)
                except self._ray.exceptions.RayTaskError as error:
                    interrupts.raise_if_requested(standing(self.units))
                    raise _cause(error) from None

    def close(self) -> None:
        """End the actors. Commits are atomic, so nobody needs to be asked first."""
        for member in self._members:
            self._ray.kill(member.handle)

    def _feed(self) -> None:
        busy = Counter(member for member, _ in self._calls.values())
        for member in self._members:
            for _ in range(member.calls - busy[member]):
                task = self._board.take(member.number)
                if task is None:
                    break
                self._calls[member.handle.do.remote(task)] = member, task

    def _hear(self, call: Any) -> None:
        member, task = self._calls.pop(call)
        try:
            answer: Answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(member, error)
            return
        self._meet(member, answer)
        if task is not None and self._board.done(task):
            self.units += len(task.teachers)
            self._progress.advance(task.block.num_rows * self._group)

    def _meet(self, member: _Member, answer: Answer) -> None:
        if member.place not in {"", answer.place}:
            self._progress.say(
                f"actor {member.number} was lost ({member.place}) and restarted ({answer.place}); Ray repeats its "
                "calls"
            )
        member.place, member.calls = answer.place, answer.calls
        before = self.reports.get(answer.place)
        if before is None or before.units <= answer.report.units:
            self.reports[answer.place] = answer.report

    def _lose(self, member: _Member, error: Exception) -> None:
        if member in self._members:  # each of its calls says so
            self._members.remove(member)
            self._board.lose(member.number)
            self._progress.say(
                f"Ray gave up actor {member.number} ({member.place or 'it never started'}): {error}"
            )


def _cause(error: Any) -> Exception:
    """Return what the actor raised, if it is ours; everything else comes with its trace."""
    return (
        error.cause if isinstance(error.cause, KdcacheError) else RuntimeError(f"an actor failed:\n{error}")
    )


def _demand_all_there(prepared: Prepared, work: Plan) -> None:
    committed = prepared.writer.committed()
    units = (Unit(name, task.block.index, task.group).name for task in work.pending for name in task.teachers)
    missing = [name for name in units if name not in committed]
    if missing:
        raise StoreError(
            f"{len(missing)} units that an actor committed are not in {prepared.settings.config.cache}, the first one "
            f"is {missing[0]}: on its node the path leads elsewhere; put the cache on a disk that all nodes share, "
            "or on s3://, and run again"
        )
