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
from kdcache.teachers.protocol import Teacher
from kdcache.views.fingerprint import decoder_fingerprint

__all__ = ["Tuning", "demand_shared_classes", "describe", "existing_manifest", "teacher_identity"]

_SOFTWARE: Final = ("kdcache", "torch", "timm", "pillow", "numpy", "zarr")
_DEFAULT_BATCH = 64


@dataclass(frozen=True, slots=True)
class Tuning:
    """What moves the last bit of a logit: equal tuning on equal hardware gives equal bytes."""

    batch_size: int
    teacher_threads: int

    @classmethod
    def of(cls, config: PrecomputeConfig, existing: Manifest | None, *, cores: int) -> Self:
        """Take what the settings say, else what the cache was begun with, else the defaults.

        One core is left to the readers: where more threads than cores wait for each other, teachers were
        measured to run five times slower.
        """
        begun = [] if existing is None else list(existing.about.teachers.values())
        return cls(
            config.batch_size or _first(begun, "batch_size") or _DEFAULT_BATCH,
            config.teacher_threads or _first(begun, "teacher_threads") or max(1, cores - 1),
        )


def _first(begun: Sequence[Mapping[str, Any]], name: str) -> int | None:
    values = (facts.get(name) for facts in begun)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def existing_manifest(url: str) -> Manifest | None:
    """Return the manifest of the cache at ``url``; None if there is none yet.

    Raises:
        StoreError: there is one, but it cannot be read.
    """
    objects = open_objects(url)
    try:
        objects.size(ROOT_PATH)
    except FileNotFoundError:
        return None
    return read_manifest(objects)


def describe(
    config: PrecomputeConfig,
    indexes: Sequence[ShardIndex],
    teachers: Sequence[Teacher],
    settled: Mapping[str, Settled],
    tuning: Tuning,
) -> Manifest:
    """Describe the cache that these settings make.

    Raises:
        ConfigError: a value does not fit.
    """
    identity = {
        "shards": tuple(
            ShardEntry(name=index.name, num_samples=len(index), digest=index.digest) for index in indexes
        ),
        "num_classes": teachers[0].num_classes,
        "policy": config.policy,
        "policy_digest": config.policy.digest(),
        "num_aug_seeds": config.views,
        **_shape(config, indexes),
        "teachers": {teacher.name: teacher_identity(teacher, settled[teacher.name]) for teacher in teachers},
    }
    return Manifest(
        identity=Identity.parse(identity, where="these settings do not make a cache"),
        about=About(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software={name: version(name) for name in _SOFTWARE},
            sources=list(config.shards),
            teachers={teacher.name: _facts(teacher, settled[teacher.name], tuning) for teacher in teachers},
            decoder=dict(decoder_fingerprint()),
        ),
    )


def _shape(config: PrecomputeConfig, indexes: Sequence[ShardIndex]) -> dict[str, int]:
    rows = config.rows_per_block or default_rows_per_block([len(index) for index in indexes])
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
            "preprocessing": Preprocessing(
                height=inputs.height,
                width=inputs.width,
                mean=inputs.mean,
                std=inputs.std,
                interpolation=inputs.interpolation,
            ),
            "precision": teacher.precision,
            "encoding": settled.encoding,
            "top_k": settled.top_k,
        },
        where=f"teacher {teacher.name!r}",
    )


def _facts(teacher: Teacher, settled: Settled, tuning: Tuning) -> dict[str, Any]:
    return {
        "source": teacher.source,
        "batch_size": tuning.batch_size,
        "teacher_threads": tuning.teacher_threads,
        "device": device_name(teacher.device),
        **settled.facts,
    }
