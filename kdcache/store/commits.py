"""Commit records: the proof that a unit is whole, written last."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from kdcache.config.base import Settings
from kdcache.digest import canonical_json, json_sha256, sha256_hex
from kdcache.errors import ConfigError, CorruptChunkError
from kdcache.store.manifest import Identity

__all__ = [
    "CommitRecord",
    "ObjectDigest",
    "content_id",
    "dump_index",
    "dump_record",
    "load_index",
    "load_record",
]


class ObjectDigest(Settings):
    """One object and what its bytes must be."""

    path: str
    size: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CommitRecord(Settings):
    """What was written for one unit.

    Attributes:
        unit: the unit's name.
        rows: rows (samples) or views that hold data.
        failures: bad samples by reason; of targets, views without targets by reason.
        labelled: views whose sample has a label.
        correct: views whose label is the teacher's first class.
        saturated: views in which a gap was too large for its byte.
        seconds: how long the unit took.
    """

    unit: str
    objects: tuple[ObjectDigest, ...]
    rows: int = Field(ge=0)
    failures: dict[str, int] = Field(default_factory=dict)
    labelled: int = Field(default=0, ge=0)
    correct: int = Field(default=0, ge=0)
    saturated: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)

    @property
    def num_bytes(self) -> int:
        """Return the size of the unit's objects."""
        return sum(entry.size for entry in self.objects)


def content_id(identity: Identity, objects: Iterable[ObjectDigest]) -> str:
    """Return the id that equal caches share: of the data objects and the identity, and nothing else."""
    entries = sorted([entry.path, entry.size, entry.sha256] for entry in objects)
    return "sha256:" + sha256_hex(canonical_json({"identity": identity.canonical(), "objects": entries}))


def dump_record(record: CommitRecord) -> bytes:
    """Return the bytes of ``commits/<unit>.json``."""
    return _sealed("record", record.model_dump(mode="json"))


def load_record(data: bytes, *, where: str) -> CommitRecord:
    """Read a commit record.

    Raises:
        CorruptChunkError: it is not byte for byte what ``dump_record`` writes.
    """
    return _parse(_opened("record", data, where=where), where=where)


def dump_index(records: Iterable[CommitRecord]) -> bytes:
    """Return the bytes of ``commits/index.json``: all records in one document, sorted by unit."""
    return _sealed("records", [r.model_dump(mode="json") for r in sorted(records, key=lambda r: r.unit)])


def load_index(data: bytes, *, where: str) -> tuple[CommitRecord, ...]:
    """Read the compacted records.

    Raises:
        CorruptChunkError: they are not byte for byte what ``dump_index`` writes.
    """
    bodies = _opened("records", data, where=where)
    if not isinstance(bodies, list):
        raise _damaged(where, "its records are not a list")
    return tuple(_parse(body, where=where) for body in bodies)


def _sealed(name: str, body: Any) -> bytes:
    return canonical_json({name: body, "sha256": json_sha256(body)})


def _opened(name: str, data: bytes, *, where: str) -> Any:
    # Only the one canonical text is accepted, so that no flipped bit can hide in spelling.
    try:
        document = json.loads(data)
        body = document[name]
        is_intact = _sealed(name, body) == data
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(where, str(error) or type(error).__name__) from error
    if not is_intact:
        raise _damaged(where, "its sha256 does not fit its text")
    return body


def _parse(body: Any, *, where: str) -> CommitRecord:
    try:
        return CommitRecord.parse(body, where=where)
    except ConfigError as error:
        raise _damaged(where, str(error)) from error


def _damaged(where: str, reason: str) -> CorruptChunkError:
    return CorruptChunkError(
        f"the commit record {where} is damaged: {reason}; delete it and run the same precompute command "
        "again (its objects are checked and kept), or fetch the cache again"
    )
