"""Stage one from settings to a complete cache."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import torch

from kdcache.config.precompute import PrecomputeConfig
from kdcache.data.index import ShardIndex, expand_shards, index_shard
from kdcache.errors import ConfigError
from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.commit import Committer, TeacherCounts
from kdcache.precompute.describe import Tuning, demand_shared_classes, describe, existing_manifest
from kdcache.precompute.loop import Loop
from kdcache.precompute.plan import Plan, plan
from kdcache.precompute.reader import lost_readers_explained
from kdcache.precompute.report import PrecomputeReport, TeacherResult
from kdcache.precompute.settle import settle
from kdcache.runtime.device import resolve_device
from kdcache.runtime.dist import World
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress
from kdcache.store.manifest import Manifest
from kdcache.store.writer import CacheWriter
from kdcache.teachers.build import build_teacher
from kdcache.teachers.protocol import Teacher

__all__ = ["precompute"]

Say = Callable[[str], None]


def precompute(
    config: PrecomputeConfig, *, quiet: bool = False, resume: str = "run the same command again"
) -> PrecomputeReport:
    """Run the teachers once over every view that is not cached yet.

    Args:
        config: what to do.
        quiet: print no progress.
        resume: what an interrupted user is told to do.

    Raises:
        ConfigError: the settings contradict each other or name something that does not exist.
        ShardError: a shard or a label is damaged, or a sample is and none may be.
        TeacherError: a teacher cannot be had, is no better than chance, or returns no logits.
        ManifestMismatchError: the cache was made with other settings.
        ViewMismatchError: the committed views cannot be rendered again here.
        InterruptedRunError: a signal came; whole units are committed.
    """
    started = time.monotonic()
    _demand_views_that_differ(config)
    indexes = [index_shard(url) for url in expand_shards(config.shards)]
    existing = existing_manifest(config.cache)
    tuning = Tuning.of(config, existing, cores=_cores())
    say = make_progress("", total=0, unit="", quiet=quiet).say
    _warn_of_other_tuning(config, existing, tuning, say)
    with Interrupts() as interrupts, _threads(tuning.teacher_threads):
        teachers = _teachers(config, say)
        with lost_readers_explained(interrupts, lambda: f"nothing was written; to start again: {resume}"):
            manifest = _manifest(config, indexes, teachers, existing=existing, tuning=tuning, say=say)
        interrupts.raise_if_requested(f"nothing was written; to start again: {resume}")
        writer = CacheWriter.create_or_resume(config.cache, manifest)
        work = _work(writer, teachers)
        if work.num_done:
            say(f"{work.num_done} of {work.num_units} units are committed already and are not done again")
        loop = Loop(config, writer, teachers, indexes, tuning, _bad_samples(config, indexes))
        total = sum(task.block.num_rows for task in work.pending) * manifest.identity.seeds_per_group
        progress = make_progress("precompute", total=total, unit="views", quiet=quiet)
        with progress, Committer(writer) as committer:
            loop.run(work, committer, progress=progress, interrupts=interrupts, resume=resume)
        writer.finish()
    return _report(loop, committer, work, started)


def _cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    # Sums depend on how many threads share them, so the number is part of what makes runs repeat.
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _warn_of_other_tuning(
    config: PrecomputeConfig, existing: Manifest | None, tuning: Tuning, say: Say
) -> None:
    stored = existing.about.teachers if existing else {}
    for name in (teacher.cache_name for teacher in config.teachers):
        for fact, value in asdict(tuning).items():
            if stored.get(name, {}).get(fact, value) != value:
                say(
                    f"teacher {name} was begun with {fact} {stored[name][fact]} and goes on with {value}: the last "
                    "bit of some logits may differ from a run in one go"
                )


def _demand_views_that_differ(config: PrecomputeConfig) -> None:
    policy = config.policy
    sections = (
        policy.rand_augment,
        policy.three_augment,
        policy.colour_jitter,
        policy.erasing,
        policy.mixing,
    )
    is_plain = policy.crop == "center" and policy.flip in {0.0, 1.0} and not any(sections)
    if is_plain and config.views > 1:
        raise ConfigError(
            f"every view of a sample is the same under this policy ({policy.preset}): "
            f"{config.views} views would hold one {config.views} times; use --views 1"
        )


def _teachers(config: PrecomputeConfig, say: Say) -> list[Teacher]:
    device = resolve_device(config.device, local_rank=World.from_env().local_rank)
    size = (config.policy.height, config.policy.width)
    teachers = [
        build_teacher(settings, device=device, view_size=size, compile_it=config.compile)
        for settings in config.teachers
    ]
    demand_shared_classes(teachers)
    for teacher in teachers:
        inputs = teacher.inputs
        if inputs.height > size[0] or inputs.width > size[1]:
            say(
                f"teacher {teacher.name} takes {inputs.height} x {inputs.width} pixels, the views have "
                f"{size[0]} x {size[1]} and are enlarged for it: --size {inputs.height} would show it more"
            )
    return teachers


def _manifest(
    config: PrecomputeConfig,
    indexes: Sequence[ShardIndex],
    teachers: Sequence[Teacher],
    *,
    existing: Manifest | None,
    tuning: Tuning,
    say: Say,
) -> Manifest:
    settled = settle(
        config,
        teachers,
        indexes,
        existing=existing.identity if existing else None,
        batch_size=tuning.batch_size,
        say=say,
    )
    return describe(config, indexes, teachers, settled, tuning)


def _work(writer: CacheWriter, teachers: Sequence[Teacher]) -> Plan:
    names = [teacher.name for teacher in teachers]
    return plan(writer.layout.blocks, writer.layout.num_groups, names, writer.committed())


def _bad_samples(config: PrecomputeConfig, indexes: Sequence[ShardIndex]) -> BadSamples:
    return BadSamples(
        on_bad_sample=config.on_bad_sample,
        max_bad=config.max_bad,
        num_samples=sum(len(index) for index in indexes),
    )


def _report(loop: Loop, committer: Committer, work: Plan, started: float) -> PrecomputeReport:
    results = {}
    for teacher in loop.teachers:
        entry = loop.writer.manifest.identity.teachers[teacher.name]
        counts = committer.totals.get(teacher.name, TeacherCounts())
        results[teacher.name] = TeacherResult(entry.encoding, entry.top_k, counts.labelled, counts.correct)
    return PrecomputeReport(
        cache=loop.config.cache,
        units=committer.units,
        units_before=work.num_done,
        views=loop.clock.views,
        bad_samples=dict(loop.bad.counts),
        teachers=results,
        seconds=time.monotonic() - started,
        reader_wait_seconds=loop.clock.reader_wait,
        writer_wait_seconds=loop.clock.writer_wait,
    )
