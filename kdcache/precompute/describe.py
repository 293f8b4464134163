"""What a run says of itself: the manifest of the cache that it wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, Self

from kdcache.config.precompute import PrecomputeConfig
from kdcache.data.index import ShardIndex
from kdcache.errors import ConfigError
from kdcache.precompute.settle import Settled
from kdcache.runtime.device import device_name
from kdcache.store.addresses import public_url
from kdcache.store.layout import ROOT_PATH, default_rows_per_block, default_seeds_per_group
from kdcache.store.manifest import (
    About,
    Identity,
    Manifest,
    Preprocessing,
    ShardEntry,
    TeacherIdentity,
)
from kdcache.store.objects import open_objects
from kdcache.store.root import read_manifest
from kdcache.store.schemes import demand_makeable
from kdcache.teachers.embedding import Embedding
from kdcache.teachers.protocol import Teacher
from kdcache.views.fingerprint import decoder_fingerprint

__all__ = ["DataSet", "Tuning", "demand_shared_classes", "describe", "existing_manifest", "teacher_identity"]

_SOFTWARE: Final = ("kdcache", "torch", "timm", "pillow", "numpy", "numcodecs")
_DEFAULT_BATCH = 64
_MOST_BATCHES = 8
"""Batches side by side on a CPU: each holds a network's activations."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a teacher computes.

    Batch size and threads move the last bit of a logit: equal ones give equal bytes on equal hardware. How
    many batches run side by side moves none.
    """

    batch_size: int
    teacher_threads: int
    parallel_batches: int = 1

    @classmethod
    def of(
        cls, config: PrecomputeConfig, existing: Manifest | None, *, cores: int, on_cpu: bool = True
    ) -> Self:
        """Take what the settings say, else what the cache was begun with, else the defaults.

        The cores are those of one worker.
        """
        begun = [] if existing is None else list(existing.about.teachers.values())
        side_by_side = min(cores, _MOST_BATCHES) if on_cpu and not config.compile else 1
        threads = config.teacher_threads or _first(begun, "teacher_threads")
        return cls(
            config.batch_size or _first(begun, "batch_size") or _DEFAULT_BATCH,
            threads or max(1, cores // side_by_side),
            config.parallel_batches or max(1, min(side_by_side, cores // (threads or 1))),
        )

    @property
    def facts(self) -> dict[str, int]:
        """What a cache remembers."""
        return {"batch_size": self.batch_size, "teacher_threads": self.teacher_threads}


@dataclass(frozen=True, slots=True)
class DataSet:
    """The shards of a cache, and those of them that this run was given.

    Attributes:
        entries: what the manifest says of each.
        indexes: by the same position; None where a shard was not given.
    """

    entries: tuple[ShardEntry, ...]
    indexes: tuple[ShardIndex | None, ...]

    @classmethod
    def of(cls, given: Sequence[ShardIndex], existing: Identity | None) -> Self:
        """Lay the given shards over those that the cache has: known ones by name, new ones behind them."""
        by_name = {entry.name: entry for entry in (existing.shards if existing else ())}
        known = {index.name: index for index in given if index.name in by_name}
        new = [index for index in given if index.name not in by_name]
        return cls(
            (
                *(_entry(known[name]) if name in known else by_name[name] for name in by_name),
                *map(_entry, new),
            ),
            (*(known.get(name) for name in by_name), *new),
        )

    @property
    def given(self) -> tuple[ShardIndex, ...]:
        """The shards that this run can read."""
        return tuple(index for index in self.indexes if index is not None)


def _entry(index: ShardIndex) -> ShardEntry:
    return ShardEntry(name=index.name, num_samples=len(index), digest=index.digest)


def _first(begun: Sequence[Mapping[str, Any]], name: str) -> int | None:
    values = (facts.get(name) for facts in begun)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def existing_manifest(url: str) -> Manifest | None:
    """Return the manifest of the cache at ``url``, which is to be written; None if there is none yet.

    Raises:
        ConfigError: it is on a web server or a hub, where none is made.
        StoreError: there is one, but it cannot be read.
    """
    objects = open_objects(url)
    demand_makeable(objects)
    try:
        objects.size(ROOT_PATH)
    except FileNotFoundError:
        return None
    return read_manifest(objects)


def describe(
    config: PrecomputeConfig,
    data: DataSet,
    teachers: Sequence[Teacher],
    settled: Mapping[str, Settled],
    tuning: Tuning,
) -> Manifest:
    """Describe the cache that these settings make.

    Raises:
        ConfigError: a value does not fit.
    """
    identity = {
        "shards": data.entries,
        "num_classes": teachers[0].num_classes,
        "policy": config.policy,
        "policy_digest": config.policy.digest(),
        "num_aug_seeds": config.views,
        **_shape(config, data.entries),
        "teachers": {teacher.name: teacher_identity(teacher, settled[teacher.name]) for teacher in teachers},
    }
    return Manifest(
        identity=Identity.parse(identity, where="these settings do not make a cache"),
        about=About(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software={name: version(name) for name in _SOFTWARE},
            sources=[public_url(shard) for shard in config.shards],
            teachers={teacher.name: _facts(teacher, settled[teacher.name], tuning) for teacher in teachers},
            decoder=dict(decoder_fingerprint()),
            licence=config.licence,
            contact=config.contact,
        ),
    )


def _shape(config: PrecomputeConfig, shards: Sequence[ShardEntry]) -> dict[str, int]:
    rows = config.rows_per_block or default_rows_per_block([shard.num_samples for shard in shards])
    seeds = config.seeds_per_group or default_seeds_per_group(config.views, rows)
    return {"rows_per_block": rows, "seeds_per_group": seeds}


def demand_shared_classes(teachers: Sequence[Teacher]) -> None:
    """Refuse teachers of different class spaces.

    Raises:
        ConfigError: naming the first two that differ.
    """
    first = teachers[0]
    for teacher in teachers[1:]:
        if teacher.num_classes != first.num_classes:
            raise ConfigError(
                f"teacher {first.name!r} has {first.num_classes} classes and {teacher.name!r} has "
                f"{teacher.num_classes}; the teachers of one cache share its classes: give each class space a "
                "cache of its own"
            )


def teacher_identity(teacher: Teacher, settled: Settled) -> TeacherIdentity:
    """Return what the manifest says of a teacher."""
    inputs = teacher.inputs
    return TeacherIdentity.parse(
        {
            "architecture": teacher.architecture,
            "weights_sha256": teacher.weights_sha256,
            "num_classes": teacher.num_classes,
            "preprocessing": None if inputs is None else Preprocessing.model_validate(inputs.to_json()),
            "precision": teacher.precision,
            "encoding": settled.encoding,
            "top_k": settled.top_k,
            "class_map_sha256": teacher.class_map_sha256,
            "ensemble": teacher.ensemble,
            "features_of": {"teacher": teacher.owner.name} if isinstance(teacher, Embedding) else None,
        },
        where=f"teacher {teacher.name!r}",
    )


def _facts(teacher: Teacher, settled: Settled, tuning: Tuning) -> dict[str, Any]:
    return {
        "source": teacher.source,
        **tuning.facts,
        "device": device_name(teacher.device),
        **settled.facts,
    }
