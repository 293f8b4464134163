"""Commit records: the proof that a unit is whole, written last."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from kdcache.config.base import Settings
from kdcache.digest import canonical_json, json_sha256, sha256_hex
from kdcache.errors import ConfigError, CorruptChunkError
from kdcache.store.documents import parsed_json
from kdcache.store.manifest import Identity
from kdcache.store.paths import safe_path

__all__ = [
    "CommitRecord",
    "ObjectDigest",
    "content_id",
    "dump_index",
    "dump_record",
    "load_index",
    "load_record",
]


Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class ObjectDigest(Settings):
    """One object and what its bytes must be."""

    path: Annotated[str, AfterValidator(safe_path)]
    size: Count
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

    unit: Annotated[str, AfterValidator(safe_path)]
    objects: tuple[ObjectDigest, ...] = Field(max_length=8)
    rows: Count
    failures: dict[str, Count] = Field(default_factory=dict, max_length=64)
    labelled: Count = 0
    correct: Count = 0
    saturated: Count = 0
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
    records = tuple(_parse(body, where=where) for body in bodies)
    for one, next_one in pairwise(records):
        if one.unit >= next_one.unit:
            raise _damaged(where, f"its records are not sorted: {next_one.unit} follows {one.unit}")
    return records


def _sealed(name: str, body: Any) -> bytes:
    return canonical_json({name: body, "sha256": json_sha256(body)})


def _opened(name: str, data: bytes, *, where: str) -> Any:
    # Only the one canonical text is accepted, so that no flipped bit can hide in spelling.
    try:
        document = parsed_json(data)
        body = document[name]
        is_intact = _sealed(name, body) == data
    except (ValueError, KeyError, TypeError) as error:
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
