"""Format 1 on disk: every name, shape, chunk, fill value and codec. Nothing else in the code knows them.

``docs/store-format.md`` says the same in prose. Changing a line here means a new format version.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from kdcache.store.arrays import ArraySpec
from kdcache.store.head import HEAD_STEPS, NUM_HEAD_PLANES
from kdcache.store.manifest import Identity, TeacherIdentity
from kdcache.store.tables import LABEL_FILL

__all__ = [
    "CARD_PATHS",
    "INDEX_PATH",
    "LABEL_FILL",
    "ROOT_PATH",
    "SAMPLES",
    "SUMS_PATH",
    "THUMBNAIL_ROWS",
    "VIEWS",
    "Block",
    "Layout",
    "SampleArrays",
    "Unit",
    "ViewArrays",
    "blocks_of",
    "default_rows_per_block",
    "default_seeds_per_group",
    "record_path",
]

ROOT_PATH = "zarr.json"
INDEX_PATH = "commits/index.json"
SUMS_PATH = "SHA256SUMS"
CARD_PATHS = ("README.md", "croissant.json")
"""What people and hubs read of a cache; no reader of the format does."""
THUMBNAIL_ROWS = 8

SAMPLES = "samples"
VIEWS = "views"
_LARGEST_BLOCK = 4096
_ROWS_IN_FLIGHT = 32_768


@dataclass(frozen=True, slots=True)
class Block:
    """Up to R consecutive samples of one shard.

    Attributes:
        index: position on the row axis, in units of R.
        shard: position of the shard in the manifest.
        first: number of the block's first sample within the shard.
        num_rows: how many samples it holds; the rest of its R rows are padding.
    """

    index: int
    shard: int
    first: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What is committed whole or not at all: ``samples``, ``views`` or a teacher, of a block and a group."""

    kind: str
    block: int
    group: int | None = None

    @property
    def name(self) -> str:
        """Return the unit's name, as in ``samples/3`` or ``resnet50/3-0``."""
        return f"{self.kind}/{self.block}" if self.group is None else f"{self.kind}/{self.block}-{self.group}"

    @classmethod
    def samples(cls, block: int) -> Self:
        """Return the unit of a block's samples."""
        return cls(SAMPLES, block)

    @classmethod
    def views(cls, block: int, group: int) -> Self:
        """Return the unit of a block's views of one group."""
        return cls(VIEWS, block, group)


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """The arrays that describe the samples, one row each."""

    key: ArraySpec
    label: ArraySpec
    digest: ArraySpec
    status: ArraySpec

    def __iter__(self) -> Iterator[ArraySpec]:
        """Yield the arrays in the order in which a unit's objects are written."""
        return iter((self.key, self.label, self.digest, self.status))


@dataclass(frozen=True, slots=True)
class ViewArrays:
    """The arrays that describe the rendered views."""

    digest: ArraySpec
    thumbnail: ArraySpec

    def __iter__(self) -> Iterator[ArraySpec]:
        """Yield the arrays in the order in which a unit's objects are written."""
        return iter((self.digest, self.thumbnail))


def default_rows_per_block(num_samples_per_shard: Sequence[int]) -> int:
    """Return R: the largest shard rounded up to 64, at most 4,096.

    >>> default_rows_per_block([100, 1251])
    1280
    """
    return min(_LARGEST_BLOCK, -(-max(num_samples_per_shard) // 64) * 64)


def default_seeds_per_group(num_aug_seeds: int, rows_per_block: int) -> int:
    """Return G: the largest divisor of V that keeps a unit within 32,768 views.

    >>> default_seeds_per_group(50, 1280)
    25
    """
    limit = max(1, _ROWS_IN_FLIGHT // rows_per_block)
    return max(n for n in range(1, min(limit, num_aug_seeds) + 1) if num_aug_seeds % n == 0)


def blocks_of(identity: Identity) -> tuple[Block, ...]:
    """Return all blocks, shard by shard."""
    size = identity.rows_per_block
    spans = (
        (shard, first, min(size, entry.num_samples - first))
        for shard, entry in enumerate(identity.shards)
        for first in range(0, entry.num_samples, size)
    )
    return tuple(Block(index, *span) for index, span in enumerate(spans))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one cache is."""

    blocks: tuple[Block, ...]
    num_groups: int
    num_classes: int
    samples: SampleArrays
    views: ViewArrays
    targets: dict[str, ArraySpec]

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Lay out the cache of this identity."""
        blocks = blocks_of(identity)
        return cls(
            blocks=blocks,
            num_groups=identity.num_aug_seeds // identity.seeds_per_group,
            num_classes=identity.num_classes,
            samples=_sample_arrays(identity, len(blocks)),
            views=_view_arrays(identity, len(blocks)),
            targets={name: _target_array(identity, name, len(blocks)) for name in identity.teachers},
        )

    def arrays(self) -> tuple[ArraySpec, ...]:
        """Return every array."""
        return (*self.samples, *self.views, *self.targets.values())

    def group_paths(self) -> tuple[str, ...]:
        """Return the paths of all Zarr groups below the root."""
        return (SAMPLES, VIEWS, "teachers", *(f"teachers/{name}" for name in self.targets))

    def units(self) -> Iterator[Unit]:
        """Yield every unit of the complete cache, in the order in which it is written."""
        blocks = range(len(self.blocks))
        yield from (Unit.samples(block) for block in blocks)
        for kind in (VIEWS, *self.targets):
            yield from (Unit(kind, block, group) for block in blocks for group in range(self.num_groups))

    @property
    def num_units(self) -> int:
        """How many units the complete cache has."""
        return len(self.blocks) * (1 + self.num_groups * (1 + len(self.targets)))

    def unit(self, name: str) -> Unit | None:
        """Return the unit of a name, None if this cache has no such unit."""
        kind, _, place = name.rpartition("/")
        block, *groups = (int(part) if part.isdecimal() else -1 for part in place.split("-"))
        unit = Unit(kind, block, *groups[:1])
        is_known = kind == SAMPLES if unit.group is None else kind in {VIEWS, *self.targets}
        is_there = block < len(self.blocks) and (unit.group or 0) < self.num_groups
        return unit if is_known and is_there and unit.name == name else None

    def objects_of(self, unit: Unit) -> tuple[tuple[ArraySpec, tuple[int, ...]], ...]:
        """Return the objects of a unit as (array, position on its grid of objects), in writing order."""
        if unit.kind == SAMPLES:
            return tuple((spec, (unit.block,)) for spec in self.samples)
        group = unit.group or 0
        if unit.kind == VIEWS:
            return (
                (self.views.digest, (group, unit.block)),
                (self.views.thumbnail, (group, unit.block, 0, 0, 0)),
            )
        return ((self.targets[unit.kind], (group, 0, unit.block)),)


def record_path(unit_name: str) -> str:
    """Return the path of a unit's commit record."""
    return f"commits/{unit_name}.json"


def _sample_arrays(identity: Identity, num_blocks: int) -> SampleArrays:
    rows = identity.rows_per_block

    def spec(name: str, dtype: str, fill: int | str) -> ArraySpec:
        return ArraySpec(f"{SAMPLES}/{name}", (num_blocks * rows,), dtype, (rows,), None, fill, ("row",))

    return SampleArrays(
        key=spec("key", "string", ""),
        label=spec("label", "int32", LABEL_FILL),
        digest=spec("digest", "uint64", 0),
        status=spec("status", "uint8", 255),
    )


def _view_arrays(identity: Identity, num_blocks: int) -> ViewArrays:
    views, group, rows = identity.num_aug_seeds, identity.seeds_per_group, identity.rows_per_block
    small = (THUMBNAIL_ROWS, 8, 8, 3)
    return ViewArrays(
        digest=ArraySpec(
            f"{VIEWS}/digest",
            (views, num_blocks * rows),
            "uint32",
            (1, rows),
            (group, rows),
            0,
            ("aug_seed", "row"),
        ),
        thumbnail=ArraySpec(
            f"{VIEWS}/thumbnail",
            (views, num_blocks * THUMBNAIL_ROWS, 8, 8, 3),
            "uint8",
            (1, *small),
            (group, *small),
            0,
            ("aug_seed", "row", "y", "x", "channel"),
        ),
    )


def _target_array(identity: Identity, name: str, num_blocks: int) -> ArraySpec:
    teacher = identity.teachers[name]
    views, group, rows = identity.num_aug_seeds, identity.seeds_per_group, identity.rows_per_block
    planes = teacher.num_planes
    return ArraySpec(
        path=f"teachers/{name}/targets",
        shape=(views, planes, num_blocks * rows),
        dtype=teacher.dtype,
        chunk=(1, planes, rows),
        shard=(group, planes, rows),
        fill=2 ** (8 * np.dtype(teacher.dtype).itemsize) - 1,
        dimensions=("aug_seed", "plane", "row"),
        attributes=_plane_attributes(teacher),
    )


def _plane_attributes(teacher: TeacherIdentity) -> dict[str, Any]:
    """Say in the array itself what its planes are, for whoever opens it without us."""
    if teacher.features_of is not None:
        return {
            "encoding": teacher.encoding,
            "features_of": teacher.features_of.teacher,
            "num_features": teacher.top_k,
            "planes": {"feature_float16": [0, teacher.top_k]},
        }
    last = teacher.num_planes - NUM_HEAD_PLANES
    body: dict[str, dict[str, list[int]]] = {
        "gap8": {"class_id": [0, teacher.top_k], "gap_16ths": [teacher.top_k, last]},
        "dense8": {"steps_below_top1": [0, last - 2], "step_float32": [last - 2, last]},
        "float32": {"logit_float32": [0, last]},
        "hard": {"class_id": [0, 1]},
    }
    planes = body[teacher.encoding] | {
        name if steps == 1 else f"{name}_{steps}ths": [last + i, last + i + 1]
        for i, (name, steps) in enumerate(HEAD_STEPS.items())
    }
    return {
        "encoding": teacher.encoding,
        "top_k": teacher.top_k,
        "num_classes": teacher.num_classes,
        "planes": planes,
    }
