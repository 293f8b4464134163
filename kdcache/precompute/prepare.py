"""Everything that has to be settled before the first view: data, teachers, and the cache itself."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kdcache.config.precompute import CombineConfig, PrecomputeConfig
from kdcache.config.terms import Terms
from kdcache.data.index import expand_shards, index_shards
from kdcache.errors import ConfigError
from kdcache.precompute.describe import DataSet, Tuning, demand_shared_classes, describe, existing_manifest
from kdcache.precompute.plan import ItemShape, Plan, plan
from kdcache.precompute.settle import settle
from kdcache.runtime.device import available_cores, resolve_device
from kdcache.store.manifest import Manifest
from kdcache.store.writer import CacheWriter
from kdcache.teachers.build import build_teacher
from kdcache.teachers.embedding import Embedding
from kdcache.teachers.ensemble import Ensemble
from kdcache.teachers.protocol import Teacher

__all__ = ["Prepared", "Settings", "build_teachers", "prepare", "wanted_manifest", "work_of"]

Say = Callable[[str], None]

_MOST_READERS = 16


@dataclass(frozen=True)
class Settings:
    """The settings of a run beside the machine and the cache that they meet.

    Attributes:
        existing: the manifest of the cache that is there, if there is one.
        readers: reader processes of one worker.
        grow: whether the cache may get further shards and seeds.
    """

    config: PrecomputeConfig
    data: DataSet
    existing: Manifest | None
    device: torch.device
    tuning: Tuning
    readers: int
    grow: bool

    @classmethod
    def of(cls, config: PrecomputeConfig, *, grow: bool = False) -> "Settings":
        """Read shards and cache.

        Raises:
            ConfigError: a shard or device does not exist.
            ShardError: a shard is damaged.
            StoreError: the cache that is there cannot be read.
        """
        _demand_views_that_differ(config)
        existing = existing_manifest(config.cache)
        given = index_shards(expand_shards(config.shards))
        data = DataSet.of(given, existing.identity if existing and grow else None)
        device = resolve_device(config.device, local_rank=int(os.environ.get("LOCAL_RANK") or 0))
        cores = max(1, available_cores() // config.num_workers)
        tuning = Tuning.of(config, existing, cores=cores, on_cpu=device.type == "cpu")
        readers = min(cores, _MOST_READERS) if config.readers is None else config.readers
        return cls(config, data, existing, device, tuning, readers, grow)


@dataclass(frozen=True)
class Prepared:
    """A run that can begin."""

    settings: Settings
    teachers: tuple[Teacher, ...]
    writer: CacheWriter

    @property
    def shape(self) -> ItemShape:
        """How tasks are cut into items."""
        identity = self.writer.manifest.identity
        if identity.policy.mixing is not None:
            return ItemShape.of_window(identity.seeds_per_group)
        return ItemShape.of_batch(self.settings.tuning.batch_size, identity.seeds_per_group)


def prepare(settings: Settings, *, say: Say) -> Prepared:
    """Build the teachers, settle how their targets are kept, and make the cache or agree with it.

    Raises:
        ConfigError: the settings contradict each other or name something that does not exist.
        ShardError: a label is no class.
        TeacherError: a teacher cannot be had, is no better than chance, or returns no logits.
        ManifestMismatchError: the cache was made with other settings.
    """
    _warn_of_other_tuning(settings, say)
    _warn_of_other_terms(settings, say)
    teachers = build_teachers(settings, say)
    wanted = wanted_manifest(settings, teachers, say)
    writer = CacheWriter.create_or_resume(settings.config.cache, wanted, grow=settings.grow)
    return Prepared(settings, teachers, writer)


def wanted_manifest(settings: Settings, teachers: Sequence[Teacher], say: Say) -> Manifest:
    """Describe the cache that the run needs; new teachers are looked at first."""
    settled = settle(
        settings.config,
        teachers,
        settings.data.given,
        existing=settings.existing.identity if settings.existing else None,
        batch_size=settings.tuning.batch_size,
        readers=settings.readers,
        say=say,
    )
    return describe(settings.config, settings.data, teachers, settled, settings.tuning)


def work_of(prepared: Prepared) -> Plan:
    """List what is pending in the shards that were given."""
    writer, indexes = prepared.writer, prepared.settings.data.indexes
    blocks = [block for block in writer.layout.blocks if indexes[block.shard] is not None]
    names = [teacher.name for teacher in prepared.teachers]
    return plan(blocks, writer.layout.num_groups, names, writer.committed())


def build_teachers(settings: Settings, say: Say) -> tuple[Teacher, ...]:
    """Build the teachers, then the ensembles of them, then the embeddings that are asked for."""
    config = settings.config
    size = (config.policy.height, config.policy.width)
    teachers = [
        build_teacher(entry, device=settings.device, view_size=size, compile_it=config.compile)
        for entry in config.teachers
    ]
    demand_shared_classes(teachers)
    for teacher in teachers:
        inputs = teacher.inputs
        if inputs is not None and (inputs.height > size[0] or inputs.width > size[1]):
            say(
                f"teacher {teacher.name} takes {inputs.height} x {inputs.width} pixels, the views have "
                f"{size[0]} x {size[1]} and are enlarged for it: --size {inputs.height} would show it more"
            )
    ensembles = (_ensemble(entry, teachers) for entry in config.combine)
    pairs = zip(config.teachers, teachers, strict=True)
    embeddings = (Embedding(one, name=entry.features_name) for entry, one in pairs if entry.features)
    return (*teachers, *ensembles, *embeddings)


def _ensemble(entry: CombineConfig, teachers: Sequence[Teacher]) -> Ensemble:
    by_name = {teacher.name: teacher for teacher in teachers}
    members = [by_name[name] for name in entry.members or by_name]
    return Ensemble(members, name=entry.name, how=entry.how, weights=entry.weights)


def _warn_of_other_tuning(settings: Settings, say: Say) -> None:
    stored = settings.existing.about.teachers if settings.existing else {}
    for name in (teacher.cache_name for teacher in settings.config.teachers):
        for fact, value in settings.tuning.facts.items():
            if stored.get(name, {}).get(fact, value) != value:
                say(
                    f"teacher {name} was begun with {fact} {stored[name][fact]} and goes on with {value}: the last "
                    "bit of some logits may differ from a run in one go"
                )


def _warn_of_other_terms(settings: Settings, say: Say) -> None:
    if settings.existing is None or settings.grow:
        return
    for name in Terms.model_fields:
        wanted, stored = getattr(settings.config, name), getattr(settings.existing.about, name)
        if wanted not in {None, stored}:
            say(
                f"the cache that is there keeps its {name} ({stored or 'none'}); kdcache extend --cache "
                f"{settings.config.cache} --{name} ... sets it"
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
