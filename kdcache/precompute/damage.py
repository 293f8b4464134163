"""What of a cache is missing or damaged, all of it: ``kdcache verify`` stops at the first."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from kdcache.digest import sha256_hex
from kdcache.errors import CorruptChunkError
from kdcache.runtime.progress import make_progress
from kdcache.store.arrays import grown_document
from kdcache.store.commits import CommitRecord, ObjectDigest, content_id, dump_record
from kdcache.store.documents import pretty_json
from kdcache.store.layout import ROOT_PATH, Layout, Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore
from kdcache.store.records import list_units, read_index, read_record
from kdcache.store.root import array_documents, expected_root

__all__ = ["BrokenObject", "Damage", "find_damage", "problem_of"]

_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class BrokenObject:
    """A data object that is not what its commit record says."""

    unit: Unit
    entry: ObjectDigest
    problem: str


@dataclass(frozen=True, slots=True)
class Damage:
    """What is broken.

    Attributes:
        content_id: of the whole cache, as its records tell.
        records: every committed unit's record, also those that were lost and are in the index.
        documents: what the bytes of each broken document must be: ``zarr.json`` files and records.
        is_index_bad: whether ``commits/index.json`` says something else than the records.
        objects: broken data objects, in the order of writing.
    """

    content_id: str
    records: Mapping[str, CommitRecord]
    documents: Mapping[str, bytes]
    is_index_bad: bool
    objects: tuple[BrokenObject, ...]

    @property
    def is_none(self) -> bool:
        """True when nothing is broken."""
        return not (self.documents or self.is_index_bad or self.objects)


def find_damage(objects: ObjectStore, manifest: Manifest, *, quiet: bool) -> Damage:
    """Look at every document, record and object of a cache.

    Raises:
        CorruptChunkError: a record is lost or contradicts the manifest, so nobody knows what its unit must be.
        StoreError: the cache cannot be read.
    """
    layout = Layout.of(manifest.identity)
    indexed, is_index_bad = _indexed(objects)
    records, documents = _records(objects, layout, indexed)
    listed = [
        (unit, entry)
        for unit in layout.units()
        if unit.name in records
        for entry in records[unit.name].objects
    ]
    total = sum(entry.size for _, entry in listed)
    broken = []
    with (
        make_progress("look", total=total, unit="bytes", quiet=quiet) as progress,
        ThreadPoolExecutor(_THREADS, thread_name_prefix="kdcache-look") as pool,
    ):
        problems = pool.map(lambda one: problem_of(objects, one[1]), listed)
        for (unit, entry), problem in zip(listed, problems, strict=True):
            progress.advance(entry.size)
            if problem:
                broken.append(BrokenObject(unit, entry, problem))
    return Damage(
        content_id=content_id(manifest.identity, (entry for _, entry in listed)),
        records=records,
        documents=documents | _metadata(objects, layout),
        is_index_bad=is_index_bad or any(records.get(name) != record for name, record in indexed.items()),
        objects=tuple(broken),
    )


def problem_of(objects: ObjectStore, entry: ObjectDigest) -> str:
    """Say what is wrong with an object; nothing if it is what its record says."""
    try:
        size = objects.size(entry.path)
        if size != entry.size:
            return f"it has {size:,} bytes, its commit record says {entry.size:,}"
        data = objects.get(entry.path)
    except FileNotFoundError:
        return "it is missing"
    return "" if sha256_hex(data) == entry.sha256 else "its sha256 is not the one in its commit record"


def _indexed(objects: ObjectStore) -> tuple[dict[str, CommitRecord], bool]:
    try:
        return read_index(objects), False
    except CorruptChunkError:
        return {}, True


def _records(
    objects: ObjectStore, layout: Layout, indexed: Mapping[str, CommitRecord]
) -> tuple[dict[str, CommitRecord], dict[str, bytes]]:
    """Return all records, and the bytes of those that only the index still knows."""
    units = {unit.name: unit for unit in layout.units()}
    records: dict[str, CommitRecord] = {}
    documents: dict[str, bytes] = {}
    there = set(list_units(objects))
    for name in sorted({*there, *indexed}):
        record = _record(objects, name, indexed.get(name)) if name in there else None
        if record is None:
            record = indexed[name]
            documents[record_path(name)] = dump_record(record)
        if name not in units or record.unit != name:
            raise _lost(objects, name, "the manifest has no such unit")
        expected = [spec.object_path(*position) for spec, position in layout.objects_of(units[name])]
        if [entry.path for entry in record.objects] != expected:
            raise _lost(objects, name, f"it names other objects than {', '.join(expected)}")
        records[name] = record
    for name in records:
        for earlier in _needed(units[name], layout):
            if earlier.name not in records:
                raise _lost(objects, earlier.name, f"it is missing, yet {name} is committed")
    return records, documents


def _record(objects: ObjectStore, name: str, indexed: CommitRecord | None) -> CommitRecord | None:
    """Return a unit's record; None if it is damaged and the index has it."""
    try:
        record = read_record(objects, name)
    except CorruptChunkError:
        if indexed is None:
            raise
        return None
    return record if record.unit == name or indexed is None else None


def _needed(unit: Unit, layout: Layout) -> list[Unit]:
    if unit.group is None:
        return []
    views = [Unit.views(unit.block, unit.group)] if unit.kind in layout.targets else []
    return [Unit.samples(unit.block), *views]


def _lost(objects: ObjectStore, name: str, problem: str) -> CorruptChunkError:
    return CorruptChunkError(
        f"{record_path(name)} in {objects.url} cannot be used: {problem}; what its objects must be is not known, so "
        "it cannot be repaired: fetch the cache again from where it was published"
    )


def _metadata(objects: ObjectStore, layout: Layout) -> dict[str, bytes]:
    """Return the bytes of the zarr.json files that are not what format 1 writes for this manifest."""
    found = {}
    wanted = {ROOT_PATH: expected_root(objects, layout)}
    documents = array_documents(layout)
    for path in (ROOT_PATH, *documents):
        try:
            there = objects.get(path)
        except FileNotFoundError:
            there = b""
        data = wanted.get(path) or pretty_json(grown_document(_parsed(there), documents[path]))
        if there != data:
            found[path] = data
    return found


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
