"""The manifest: what a cache is (its identity) and what else is known about it.

Two caches with equal identities and equal data objects are the same cache, whoever made them and when.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, FailFast, Field, model_validator

from kdcache.config.base import Settings
from kdcache.config.views import ViewPolicy
from kdcache.store.teacher_identity import (
    Encoding,
    FeaturesOf,
    Preprocessing,
    Sha256,
    TeacherIdentity,
    TeacherName,
    num_planes,
)

__all__ = [
    "FORMAT_VERSION",
    "About",
    "Encoding",
    "FeaturesOf",
    "Identity",
    "Manifest",
    "Parent",
    "Preprocessing",
    "ShardEntry",
    "TeacherIdentity",
    "differences",
    "num_planes",
]

FORMAT_VERSION: Literal[1] = 1

_MIXING_WINDOW = 64
# A reader holds one chunk, and needs a few times as much to decode it; a writer holds a unit.
_LARGEST_CHUNK: Final = 1 << 27
_LARGEST_UNIT: Final = 1 << 32
_MOST_BLOCKS: Final = 1 << 20
_MOST_UNITS: Final = 1 << 22

_NO_FILE_NAME = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]|^\.\.?$|^pipe:")


def _file_name(name: str) -> str:
    if _NO_FILE_NAME.search(name):
        raise ValueError(
            f"{name[:200]!r} is not the name of a file: a shard is known by its name without folder"
        )
    return name


class ShardEntry(Settings):
    """One WebDataset shard that the cache covers.

    Attributes:
        name: file name without folder.
        num_samples: how many samples it holds.
        digest: ``kdcache.digest.shard_digest`` of its members.
    """

    name: Annotated[str, AfterValidator(_file_name)] = Field(min_length=1, max_length=1024)
    num_samples: int = Field(ge=1, le=1 << 32)
    digest: Sha256


class Identity(Settings):
    """What a cache is: data, class space, views, shape and teachers.

    Attributes:
        shards: the shards, in the order of their blocks.
        class_names_sha256: digest of the class names, if they are known.
        num_classes: the class space of the labels.
        num_aug_seeds: V, the views of each sample.
        rows_per_block: R, the rows that one unit of work owns.
        seeds_per_group: G, the augmentation seeds of one unit of work.
        teachers: by name; all under the same views.
    """

    format_version: Literal[1] = FORMAT_VERSION
    shards: Annotated[tuple[ShardEntry, ...], FailFast()] = Field(min_length=1, max_length=_MOST_BLOCKS)
    class_names_sha256: Sha256 | None = None
    num_classes: int = Field(ge=1, le=1 << 24)
    policy: ViewPolicy
    policy_digest: Sha256
    num_aug_seeds: int = Field(ge=1, le=1 << 20)
    rows_per_block: int = Field(ge=1, le=4096)
    seeds_per_group: int = Field(ge=1, le=1 << 15)
    teachers: dict[TeacherName, TeacherIdentity] = Field(default_factory=dict, max_length=1000)

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if self.policy_digest != self.policy.digest():
            raise ValueError(
                f"policy_digest is {self.policy_digest[:12]}, "
                f"but the policy beside it has {self.policy.digest()[:12]}"
            )
        if self.num_aug_seeds % self.seeds_per_group:
            raise ValueError(
                f"{self.num_aug_seeds} views are not a multiple of the {self.seeds_per_group} of a group; "
                "seeds come in whole groups"
            )
        if self.policy.mixing is not None and self.rows_per_block % _MIXING_WINDOW:
            raise ValueError(
                f"{self.rows_per_block} rows per block are not a multiple of {_MIXING_WINDOW}, "
                "the window in which a mixing policy pairs samples"
            )
        return self

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        owners = [entry.features_of.teacher for entry in self.teachers.values() if entry.features_of]
        twice = sorted({name for name in owners if owners.count(name) > 1})
        if twice:
            raise ValueError(f"teacher {twice[0]!r} has two embeddings; a cache holds one of each teacher")
        return self

    @model_validator(mode="after")
    def _check_chunks(self) -> Self:
        for name, teacher in self.teachers.items():
            item = 4 if teacher.dtype == "uint32" else 2
            size = teacher.num_planes * self.rows_per_block * item
            if size > _LARGEST_CHUNK:
                raise ValueError(
                    f"one chunk of teacher {name!r} would take {size:,} bytes (limit {_LARGEST_CHUNK:,}): "
                    f"{teacher.num_planes} planes x {self.rows_per_block} rows; keep fewer classes or "
                    "fewer rows per block"
                )
            if size * self.seeds_per_group > _LARGEST_UNIT:
                raise ValueError(
                    f"one unit of teacher {name!r} would take {size * self.seeds_per_group:,} bytes (limit "
                    f"{_LARGEST_UNIT:,}): {self.seeds_per_group} seeds of {size:,}; take fewer seeds per group"
                )
        return self

    @model_validator(mode="after")
    def _check_units(self) -> Self:
        blocks = sum(-(-shard.num_samples // self.rows_per_block) for shard in self.shards)
        groups = self.num_aug_seeds // self.seeds_per_group
        units = blocks * (1 + groups * (1 + len(self.teachers)))
        if blocks > _MOST_BLOCKS or units > _MOST_UNITS:
            raise ValueError(
                f"the cache would have {blocks:,} blocks (limit {_MOST_BLOCKS:,}) and {units:,} units (limit "
                f"{_MOST_UNITS:,}); take more rows per block or more seeds per group, or make several caches"
            )
        return self

    def canonical(self) -> dict[str, Any]:
        """Return what two caches are compared by.

        Fields without a value are left out, so is the informational name of the policy's preset; the size of
        a view is [height, width] however it was given.
        """
        fields = self.model_dump(mode="json", exclude={"policy": {"preset"}}, exclude_none=True)
        fields["policy"]["size"] = [self.policy.height, self.policy.width]
        return fields


class Parent(Settings):
    """The cache that another one was taken from.

    Attributes:
        content_id: the parent's.
        selection: what was taken of it, as it was asked for.
    """

    # A later release may say more of a parent.
    model_config = ConfigDict(extra="allow")

    content_id: str = Field(max_length=200)
    selection: dict[str, Any] = Field(default_factory=dict)


class About(Settings):
    """What is known about a cache beside its identity; none of it decides whether two caches are equal.

    Attributes:
        created: when, as ISO 8601 in UTC.
        software: versions by package.
        sources: where the shards were read from.
        teachers: by teacher, facts such as source, batch size, threads and ``kept_mass``, the pilot's mean
            kept mass as {K: {T: mass}}.
        decoder: how images were decoded.
        parent: the cache that this one is a part of.
    """

    # A later release may add facts without a new format.
    model_config = ConfigDict(extra="allow")

    created: str = ""
    software: dict[str, str] = Field(default_factory=dict)
    sources: list[str] = Field(default_factory=list)
    teachers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    decoder: dict[str, Any] = Field(default_factory=dict)
    licence: str | None = None
    contact: str | None = None
    parent: Parent | None = None


class Manifest(Settings):
    """A cache's self-description."""

    identity: Identity
    about: About = Field(default_factory=About)


def differences(ours: Any, theirs: Any, field: str = "") -> list[tuple[str, Any, Any]]:
    """Return (field, our value, their value) wherever two JSON values differ.

    >>> differences({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]})
    [('b[1]', 2, 3)]
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = [*ours, *(name for name in theirs if name not in ours)]
        pairs = [(f"{field}.{name}" if field else name, ours.get(name), theirs.get(name)) for name in names]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [
            (f"{field}[{i}]", mine, other) for i, (mine, other) in enumerate(zip(ours, theirs, strict=True))
        ]
    else:
        return [] if ours == theirs else [(field, ours, theirs)]
    return [found for name, mine, other in pairs for found in differences(mine, other, name)]
