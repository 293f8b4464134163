"""Actors of a Ray cluster share the work: one a device, one call a unit; Ray restarts them and repeats calls."""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdcache.errors import InterruptedRunError, KdcacheError, StoreError
from kdcache.precompute.plan import Plan, Task
from kdcache.precompute.prepare import Prepared
from kdcache.precompute.ray_actor import Answer, UnitActor
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
_OVERDUE_SECONDS = 60.0


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


@dataclass(frozen=True, slots=True)
class _Call:
    member: _Member
    task: Task | None
    since: float


class _Run:
    """Calls the actors until every task is done."""

    def __init__(self, ray: Any, prepared: Prepared, work: Plan, progress: Progress) -> None:
        self.reports: dict[str, PrecomputeReport] = {}
        self.units = 0
        self._ray = ray
        self._settings = prepared.settings
        self._group = prepared.writer.manifest.identity.seeds_per_group
        self._progress = progress
        self._pending = deque(work.pending)
        self._left = set(work.pending)
        self._members: list[_Member] = []
        self._in_flight: dict[Any, _Call] = {}
        self._longest = 0.0

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
            self._call(member, None)

    def serve(self, interrupts: Interrupts, standing: Standing) -> None:
        """Hand out tasks and hear of them until none is left."""
        while self._left:
            interrupts.raise_if_requested(standing(self.units))
            self._feed()
            done, _ = self._ray.wait([*self._in_flight], timeout=_POLL_SECONDS)
            for reference in done:
                try:
                    self._hear(reference)
                except self._ray.exceptions.RayTaskError as error:
                    interrupts.raise_if_requested(standing(self.units))
                    raise _cause(error) from None
            if not self._members:
                raise InterruptedRunError(f"Ray gave up every actor; {standing(self.units)}")

    def close(self) -> None:
        """End the actors. Commits are atomic, so nobody needs to be asked first."""
        for member in self._members:
            self._ray.kill(member.handle)

    def _feed(self) -> None:
        busy = Counter(call.member for call in self._in_flight.values())
        for member in self._members:
            for _ in range(member.calls - busy[member]):
                task = self._next(member)
                if task is None:
                    break
                self._call(member, task)

    def _next(self, member: _Member) -> Task | None:
        if self._pending:
            return self._pending.popleft()
        # An actor whose node is gone for good waits for another one: the idle ones help.
        copies = Counter(call.task for call in self._in_flight.values())
        latest = time.monotonic() - _OVERDUE_SECONDS - 3 * self._longest
        overdue = (
            call.task
            for call in self._in_flight.values()
            if call.task in self._left
            and copies[call.task] == 1
            and call.member is not member
            and call.since < latest
        )
        return next(overdue, None)

    def _call(self, member: _Member, task: Task | None) -> None:
        handle = member.handle
        reference = handle.ready.remote() if task is None else handle.do.remote(task)
        self._in_flight[reference] = _Call(member, task, time.monotonic())

    def _hear(self, reference: Any) -> None:
        call = self._in_flight.pop(reference)
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(call.member, error, call.task)
            return
        self._meet(call.member, answer)
        if call.task in self._left:
            self._left.remove(call.task)
            self._longest = max(self._longest, time.monotonic() - call.since)
            self.units += len(call.task.teachers)
            self._progress.advance(call.task.block.num_rows * self._group)

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

    def _lose(self, member: _Member, error: Exception, task: Task | None) -> None:
        self._members.remove(member)
        lost = [call.task for call in self._in_flight.values() if call.member is member]
        self._in_flight = {
            reference: call for reference, call in self._in_flight.items() if call.member is not member
        }
        copies = {call.task for call in self._in_flight.values()}
        back = [one for one in (task, *lost) if one in self._left and one not in copies]
        self._pending.extendleft(back)
        self._progress.say(f"Ray gave up actor {member.number} ({member.place or 'never started'}): {error}")


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
