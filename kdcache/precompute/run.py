"""Stage one from settings to a complete cache."""

import os
import time
from dataclasses import replace

from kdcache.config.precompute import PrecomputeConfig
from kdcache.precompute.plan import Plan
from kdcache.precompute.pool import run_pool
from kdcache.precompute.prepare import Prepared, Settings, prepare, work_of
from kdcache.precompute.ray_engine import run_ray
from kdcache.precompute.reader import lost_readers_explained
from kdcache.precompute.report import PrecomputeReport
from kdcache.precompute.source import Place, Share
from kdcache.precompute.worker import Worker, computing_threads
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress

__all__ = ["precompute"]

PATIENCE = 4.0
"""Seconds from a signal to the end, at most, beside those of the writer."""


def precompute(
    config: PrecomputeConfig,
    *,
    grow: bool = False,
    quiet: bool = False,
    resume: str = "run the same command again",
) -> PrecomputeReport:
    """Run the teachers once over every view that is not cached yet.

    Args:
        config: what to do.
        grow: add further shards and augmentation seeds to the cache that is there; shards that are not given
            stay as they are.
        quiet: print no progress.
        resume: what an interrupted user is told to do.

    Raises:
        ConfigError: the settings contradict each other or name something that does not exist.
        ShardError: a shard or a label is damaged, or a sample is and none may be.
        TeacherError: a teacher cannot be had, is no better than chance, or returns no logits.
        ManifestMismatchError: the cache was made with other settings.
        ViewMismatchError: the committed views cannot be rendered again here.
        InterruptedRunError: a signal came, or a process was lost; whole units are committed.
    """
    started = time.monotonic()
    say = make_progress("", total=0, unit="", quiet=quiet).say

    def nothing() -> str:
        return f"nothing was written; to start again: {resume}"

    with Interrupts(patience=PATIENCE) as interrupts:
        with interrupts.anywhere(nothing), lost_readers_explained(interrupts, nothing):
            settings = Settings.of(config, grow=grow)
            with computing_threads(settings.tuning.teacher_threads):
                prepared = prepare(settings, say=say)
            work = work_of(prepared)
        if work.num_done:
            say(f"{work.num_done} of {work.num_units} units are committed already and are not done again")
        is_shared = config.num_workers > 1 or config.engine == "ray"
        if is_shared:
            prepared = replace(prepared, teachers=())  # each worker builds its own: give the memory back
        run = _Run(prepared, work, interrupts, quiet=quiet, resume=resume)
        report = run.shared() if is_shared else run.alone()
        prepared.writer.finish()
    return replace(report, seconds=time.monotonic() - started)


class _Run:
    """The part of a run that commits."""

    def __init__(
        self, prepared: Prepared, work: Plan, interrupts: Interrupts, *, quiet: bool, resume: str
    ) -> None:
        self._prepared, self._work, self._interrupts = prepared, work, interrupts
        self._quiet, self._resume = quiet, resume
        self._settings = prepared.settings

    def alone(self) -> PrecomputeReport:
        """Work in this process, as one of n if the settings or the environment say so."""
        given = self._settings.config.worker
        place = Place(*given) if given else Place.from_env(os.environ)
        writer, work = self._prepared.writer, self._work
        source = Share(work.pending, place, committed=writer.committed, is_committed=writer.is_committed)
        num_samples = sum(len(index) for index in self._settings.data.given)
        total = self._num_views() // place.count
        label = "precompute" if place.count == 1 else f"precompute {place.index}/{place.count}"
        progress = make_progress(label, total=total, unit="views", quiet=self._quiet)
        worker = Worker(
            self._prepared,
            num_samples=-(-num_samples // place.count),
            advance=lambda count: progress.advance(count, worker.committer.top1()),
        )
        with progress, computing_threads(self._settings.tuning.teacher_threads):
            worker.run(source, self._interrupts, lambda: self._standing(worker.committer.units))
        return worker.report(units_before=work.num_done)

    def shared(self) -> PrecomputeReport:
        """Let processes of this machine, or actors of a Ray cluster, share the work."""
        progress = make_progress("precompute", total=self._num_views(), unit="views", quiet=self._quiet)
        share = run_ray if self._settings.config.engine == "ray" else run_pool
        with progress:
            return share(self._prepared, self._work, self._interrupts, progress, self._standing)

    def _num_views(self) -> int:
        per_group = self._prepared.writer.manifest.identity.seeds_per_group
        return sum(task.block.num_rows for task in self._work.pending) * per_group

    def _standing(self, units: int) -> str:
        done = self._work.num_done + units
        return f"{done} of {self._work.num_units} units are committed and stay; to continue: {self._resume}"
