"""What a manifest says of one teacher: what decides its stored targets, or those of its embedding."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from kdcache.config.base import Settings
from kdcache.store.head import NUM_HEAD_PLANES

__all__ = [
    "Encoding",
    "FeaturesOf",
    "Preprocessing",
    "Sha256",
    "TeacherIdentity",
    "TeacherName",
    "num_planes",
]

Encoding = Literal["gap8", "dense8", "float32", "hard", "features16"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

_RESERVED_NAMES = {"samples", "views", "teachers", "commits", "index"}
_TEACHER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_LARGEST_UINT16_CLASSES = 65_534


def _teacher_name(name: str) -> str:
    if not _TEACHER_NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise ValueError(
            f"{name!r} cannot name a teacher: use a to z, 0 to 9, '_', '.', '-', a letter or digit first, "
            f"and none of {', '.join(sorted(_RESERVED_NAMES))}"
        )
    return name


TeacherName = Annotated[str, AfterValidator(_teacher_name)]


def num_planes(encoding: Encoding, top_k: int, num_classes: int) -> int:
    """Return P, the planes that one view takes, the head planes of logits included.

    >>> num_planes("gap8", 50, 1000), num_planes("features16", 512, 1000)
    (105, 512)
    """
    if encoding == "features16":
        return top_k
    body = {"gap8": 2 * top_k - 1, "dense8": num_classes + 2, "float32": 2 * num_classes, "hard": 1}
    return body[encoding] + NUM_HEAD_PLANES


class Preprocessing(Settings):
    """What a teacher does to a view: resize it to its input size, scale to [0, 1], normalise."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = Field(max_length=100)


class FeaturesOf(Settings):
    """Whose embedding is stored, and which one.

    Attributes:
        teacher: the teacher's name in the same cache.
        layer: ``pre-logits``, what its classifier is given: one pooled vector a view.
    """

    teacher: TeacherName
    layer: Literal["pre-logits"] = "pre-logits"


class TeacherIdentity(Settings):
    """What decides a teacher's stored targets, or those of its embedding.

    Attributes:
        preprocessing: what a network does to a view; None for an ensemble, whose members each have one.
        num_classes: C, the classes that the stored ids count, after the class map.
        encoding: how targets are stored; ``dense8`` and ``float32`` keep all classes, ``features16`` is an
            embedding.
        top_k: K, the kept classes of a view; of an embedding D, its length.
        class_map_sha256: digest of the map from the network's classes to the cache's, if there is one.
        ensemble: the recipe of a combined teacher.
        features_of: of an embedding, whose it is; else None.
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
    features_of: FeaturesOf | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_most_have_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Caches without embeddings keep the bytes, and the digest, that they had before there were any.
        fields: dict[str, Any] = dump(self)
        if fields.get("features_of") is None:
            fields.pop("features_of", None)
        return fields

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        if (self.encoding == "features16") != (self.features_of is not None):
            raise ValueError(
                f"encoding {self.encoding} {'lacks' if self.features_of is None else 'has'} features_of: "
                "features16 and features_of belong together"
            )
        return self

    @model_validator(mode="after")
    def _check_top_k(self) -> Self:
        if self.features_of is not None:
            return self
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

    def subject(self, name: str) -> str:
        """Say whose targets these are, for messages: an embedding is its teacher's."""
        return f"teacher {(name if self.features_of is None else self.features_of.teacher)!r}"

    @property
    def num_planes(self) -> int:
        """P, the planes of one view."""
        return num_planes(self.encoding, self.top_k, self.num_classes)

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """The type of the stored planes: class ids above 65,533 need 32 bits."""
        holds_ids = self.encoding in {"gap8", "hard"}
        return "uint32" if holds_ids and self.num_classes > _LARGEST_UINT16_CLASSES else "uint16"
