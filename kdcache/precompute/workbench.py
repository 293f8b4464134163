"""Units of a cache that exists, computed once more by stage one itself, in a folder of its own."""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from kdcache.config.precompute import PrecomputeConfig
from kdcache.data.index import expand_shards, index_shards
from kdcache.errors import ConfigError
from kdcache.precompute.bad_samples import BadSamples
from kdcache.precompute.commit import Committer
from kdcache.precompute.describe import DataSet, Tuning
from kdcache.precompute.extend import extension_of
from kdcache.precompute.loop import Loop
from kdcache.precompute.panel import Panel
from kdcache.precompute.plan import ItemShape, Task
from kdcache.precompute.prepare import Settings, build_teachers, wanted_manifest
from kdcache.precompute.worker import computing_threads
from kdcache.runtime.device import available_cores
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress
from kdcache.store.create import agreed_manifest
from kdcache.store.layout import SAMPLES, VIEWS, Layout, Unit
from kdcache.store.manifest import Manifest
from kdcache.store.objects import LocalObjects, ObjectStore
from kdcache.store.writer import CacheWriter
from kdcache.teachers.protocol import Teacher

__all__ = ["Workbench", "tasks_for"]

_CACHES_OWN: Final = ("policy", "views", "rows_per_block", "seeds_per_group")
_MOST_READERS: Final = 16


def tasks_for(units: Collection[Unit], layout: Layout) -> tuple[Task, ...]:
    """List the tasks that compute these units; samples come with any group of their block, else with the first."""
    wanted: dict[tuple[int, int], list[str]] = {}
    for unit in units:
        if unit.group is not None:
            names = wanted.setdefault((unit.block, unit.group), [])
            names += [unit.kind] if unit.kind not in {VIEWS, *names} else []
    seen = {block for block, _ in wanted}
    wanted |= {(unit.block, 0): [] for unit in units if unit.kind == SAMPLES and unit.block not in seen}
    return tuple(
        Task(layout.blocks[block], group, tuple(wanted[block, group])) for block, group in sorted(wanted)
    )


@dataclass(frozen=True)
class Workbench:
    """What computes: shards that are the cache's, and the teachers that are needed."""

    manifest: Manifest
    data: DataSet
    teachers: tuple[Teacher, ...]
    tuning: Tuning
    readers: int

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        objects: ObjectStore,
        manifest: Manifest,
        units: Collection[Unit],
        *,
        where: str,
        quiet: bool,
    ) -> Self:
        """Read the shards, and build the teachers if any targets are among the units.

        Raises:
            ConfigError: a shard or a teacher that is needed is not given, or is none of the cache's.
            ManifestMismatchError: a shard or a teacher is another one than the cache was made with.
        """
        kinds = {unit.kind for unit in units} - {SAMPLES, VIEWS}
        own = {name: value for name, value in settings.items() if name not in _CACHES_OWN}
        if not kinds:
            bench = cls(manifest, _data(own, manifest), (), Tuning(1, 1), _readers(own))
        else:
            _demand_teachers(kinds, own, where=where)
            config = extension_of(own, where=where)
            _demand_names(kinds, config, manifest, where=where)
            run = Settings.of(config, grow=True)
            say = make_progress("", total=0, unit="", quiet=quiet).say
            with computing_threads(run.tuning.teacher_threads):
                teachers = build_teachers(run, say)
                agreed_manifest(objects, wanted_manifest(run, teachers, say), grow=True)
            bench = cls(manifest, run.data, teachers, run.tuning, run.readers)
        _demand_shards(bench.data, units, manifest, where=where)
        return bench

    def run(self, units: Collection[Unit], done: Callable[[ObjectStore, Task], None], *, quiet: bool) -> None:
        """Compute the units; ``done`` finds the objects of each task in a store that is emptied behind it.

        Raises:
            InterruptedRunError: a signal came.
        """
        tasks = tasks_for(units, Layout.of(self.manifest.identity))
        total = sum(task.block.num_rows for task in tasks) * self.manifest.identity.seeds_per_group
        with tempfile.TemporaryDirectory(prefix="kdcache-") as folder:
            store = LocalObjects(Path(folder))

            def on_commit(task: Task) -> None:
                done(store, task)
                for entry in list(store.list("")):
                    store.delete(entry.path)

            with (
                Interrupts() as interrupts,
                make_progress("repair", total=total, unit="views", quiet=quiet) as progress,
                computing_threads(self.tuning.teacher_threads),
                Committer(CacheWriter(store, self.manifest), on_commit=on_commit) as committer,
            ):
                self._loop(progress.advance).run(_Once(tasks), committer, interrupts, _standing)

    def _loop(self, advance: Callable[[int], None]) -> Loop:
        identity = self.manifest.identity
        return Loop(
            identity=identity,
            panel=Panel(self.teachers, identity.teachers, self.tuning),
            shape=self._shape(),
            indexes=self.data.indexes,
            readers=self.readers,
            bad=BadSamples(on_bad_sample="skip", max_bad=1.0, num_samples=1 << 62),
            advance=advance,
        )

    def _shape(self) -> ItemShape:
        per_group = self.manifest.identity.seeds_per_group
        if self.manifest.identity.policy.mixing is not None:
            return ItemShape.of_window(per_group)
        return ItemShape.of_batch(self.tuning.batch_size, per_group)


class _Once:
    """Hands out the tasks one time."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, self._is_done = tasks, False

    def more(self) -> bool:
        """Return True the first time."""
        is_first, self._is_done = not self._is_done, True
        return is_first

    def __iter__(self) -> Iterator[Task]:
        """Yield the tasks."""
        return iter(self._tasks)


def _standing() -> str:
    return "what was repaired stays; to continue: run the same command again"


def _data(settings: Mapping[str, Any], manifest: Manifest) -> DataSet:
    shards = settings.get("shards") or ()
    patterns = [shards] if isinstance(shards, str) else shards
    return DataSet.of(index_shards(expand_shards(patterns)) if patterns else [], manifest.identity)


def _readers(settings: Mapping[str, Any]) -> int:
    readers = settings.get("readers")
    return min(available_cores(), _MOST_READERS) if readers is None else int(readers)


def _demand_teachers(kinds: Collection[str], settings: Mapping[str, Any], *, where: str) -> None:
    if not settings.get("teachers") or not settings.get("shards"):
        raise ConfigError(
            f"{where}: targets of {', '.join(sorted(kinds))} are broken; give the shards with --shards and the "
            "teachers with --teacher, as for kdcache extend"
        )


def _demand_names(
    kinds: Collection[str], config: PrecomputeConfig, manifest: Manifest, *, where: str
) -> None:
    names = {teacher.cache_name for teacher in config.teachers} | {entry.name for entry in config.combine}
    names |= {teacher.features_name for teacher in config.teachers if teacher.features}
    strangers, missing = sorted(names - set(manifest.identity.teachers)), sorted(set(kinds) - names)
    if strangers:
        raise ConfigError(
            f"{where}: {strangers[0]!r} is no teacher of the cache, which has "
            f"{', '.join(manifest.identity.teachers)}; name it as the cache does: --teacher NAME=MODEL"
        )
    if missing:
        raise ConfigError(
            f"{where}: targets of {', '.join(missing)} are broken, too, and that teacher is not given; give it with "
            "--teacher NAME=MODEL (features: --store-features; an ensemble: its members and --combine)"
        )


def _demand_shards(data: DataSet, units: Collection[Unit], manifest: Manifest, *, where: str) -> None:
    blocks = Layout.of(manifest.identity).blocks
    needed = sorted({blocks[unit.block].shard for unit in units})
    missing = [data.entries[shard].name for shard in needed if data.indexes[shard] is None]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ConfigError(
            f"{where}: the broken objects are of shards that are not given: {', '.join(missing[:4])}{more}; "
            "give them with --shards"
        )
    if len(data.entries) > len(manifest.identity.shards):
        raise ConfigError(
            f"{where}: {data.entries[len(manifest.identity.shards)].name!r} is no shard of the cache; leave it out"
        )
