"""The manifest: what a cache is (its identity) and what else is known about it.

Two caches with equal identities and equal data objects are the same cache, whoever made them and when.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from kdcache.config.base import Settings
from kdcache.config.views import ViewPolicy

__all__ = [
    "FORMAT_VERSION",
    "About",
    "Encoding",
    "Identity",
    "Manifest",
    "Preprocessing",
    "ShardEntry",
    "TeacherIdentity",
    "differences",
    "num_planes",
]

FORMAT_VERSION: Literal[1] = 1

Encoding = Literal["gap8", "dense8", "float32", "hard"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_RESERVED_NAMES = {"samples", "views", "teachers", "commits", "index"}
_TEACHER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_LARGEST_UINT16_CLASSES = 65_534
_MIXING_WINDOW = 64
# Blosc frames end at 2 GiB; a reader holds one inner chunk decoded.
_LARGEST_CHUNK = 1 << 30


def _teacher_name(name: str) -> str:
    if not _TEACHER_NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise ValueError(
            f"{name!r} cannot name a teacher: use a to z, 0 to 9, '_', '.', '-', a letter or digit first, "
            f"and none of {', '.join(sorted(_RESERVED_NAMES))}"
        )
    return name


TeacherName = Annotated[str, AfterValidator(_teacher_name)]


def num_planes(encoding: Encoding, top_k: int, num_classes: int) -> int:
    """Return P, the planes that one view takes, the six head planes included.

    >>> num_planes("gap8", 50, 1000)
    105
    """
    body = {"gap8": 2 * top_k - 1, "dense8": num_classes + 2, "float32": 2 * num_classes, "hard": 1}
    return body[encoding] + 6


class ShardEntry(Settings):
    """One WebDataset shard that the cache covers.

    Attributes:
        name: file name without folder.
        num_samples: how many samples it holds.
        digest: ``kdcache.digest.shard_digest`` of its members.
    """

    name: str = Field(min_length=1, max_length=1024)
    num_samples: int = Field(ge=1)
    digest: Sha256


class Preprocessing(Settings):
    """What a teacher does to a view: resize it to its input size, scale to [0, 1], normalise."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = Field(max_length=100)


class TeacherIdentity(Settings):
    """What decides a teacher's stored targets.

    Attributes:
        preprocessing: what a network does to a view; None for an ensemble, whose members each have one.
        num_classes: C, the classes that the stored ids count, after the class map.
        encoding: how targets are stored; ``dense8`` and ``float32`` keep all classes.
        top_k: K, the kept classes of a view.
        class_map_sha256: digest of the map from the network's classes to the cache's, if there is one.
        ensemble: the recipe of a combined teacher.
    """

    architecture: str = Field(max_length=1024)
    weights_sha256: Sha256
    num_classes: int = Field(ge=2, le=1 << 24)
    preprocessing: Preprocessing | None = None
    precision: Literal["float32", "bfloat16", "float16"]
    encoding: Encoding
    top_k: int = Field(ge=1)
    class_map_sha256: Sha256 | None = None
    ensemble: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_top_k(self) -> Self:
        if self.top_k > self.num_classes:
            raise ValueError(f"top_k is {self.top_k}, but the teacher has {self.num_classes} classes only")
        if self.encoding in {"dense8", "float32"} and self.top_k != self.num_classes:
            raise ValueError(
                f"{self.encoding} keeps all {self.num_classes} classes, top_k asks for {self.top_k}; "
                "leave top_k out or use gap8"
            )
        if self.encoding == "gap8" and self.top_k == self.num_classes:
            raise ValueError(f"top_k is all {self.num_classes} classes: that is what dense8 is for")
        if self.encoding == "hard" and self.top_k != 1:
            raise ValueError(f"hard keeps one class, top_k asks for {self.top_k}")
        return self

    @property
    def num_planes(self) -> int:
        """P, the planes of one view."""
        return num_planes(self.encoding, self.top_k, self.num_classes)

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """The type of the stored planes: class ids above 65,533 need 32 bits."""
        holds_ids = self.encoding in {"gap8", "hard"}
        return "uint32" if holds_ids and self.num_classes > _LARGEST_UINT16_CLASSES else "uint16"


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
    shards: tuple[ShardEntry, ...] = Field(min_length=1)
    class_names_sha256: Sha256 | None = None
    num_classes: int = Field(ge=1, le=1 << 24)
    policy: ViewPolicy
    policy_digest: Sha256
    num_aug_seeds: int = Field(ge=1, le=1 << 20)
    rows_per_block: int = Field(ge=1, le=4096)
    seeds_per_group: int = Field(ge=1)
    teachers: dict[TeacherName, TeacherIdentity] = Field(default_factory=dict)

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
        return self

    def canonical(self) -> dict[str, Any]:
        """Return what two caches are compared by.

        Fields without a value are left out, so is the informational name of the policy's preset; the size of
        a view is [height, width] however it was given.
        """
        fields = self.model_dump(mode="json", exclude={"policy": {"preset"}}, exclude_none=True)
        fields["policy"]["size"] = [self.policy.height, self.policy.width]
        return fields


class About(Settings):
    """What is known about a cache beside its identity; none of it decides whether two caches are equal.

    Attributes:
        created: when, as ISO 8601 in UTC.
        software: versions by package.
        sources: where the shards were read from.
        teachers: by teacher, facts such as source, batch size, threads and ``kept_mass``, the pilot's mean
            kept mass as {K: {T: mass}}.
        decoder: how images were decoded.
        parent: the content id of the cache that this one grew from.
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
    parent: str | None = None


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
