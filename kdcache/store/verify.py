"""Checking a whole cache: structure, every checksum, and what every stored view must fulfil."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kdcache.errors import CorruptChunkError
from kdcache.store.arrays import grown_document
from kdcache.store.block_reader import BlockReader
from kdcache.store.commits import CommitRecord, ObjectDigest, content_id
from kdcache.store.documents import ARRAY_LIMIT, ROOT_LIMIT, pretty_json, read_document, read_limited
from kdcache.store.invariants import check_planes, has_targets
from kdcache.store.layout import (
    CARD_PATHS,
    INDEX_PATH,
    ROOT_PATH,
    SAMPLES,
    SUMS_PATH,
    VIEWS,
    Layout,
    Unit,
    record_path,
)
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.pin import demand_pinned, split_pin
from kdcache.store.records import list_units, read_index, read_record
from kdcache.store.root import array_documents, expected_root, read_manifest
from kdcache.store.trust import check_record

__all__ = ["VerifyReport", "verify"]

_BYTES_AT_ONCE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked and found right.

    Attributes:
        units: committed units.
        total_units: units of the complete cache.
        objects: data objects checked.
        num_bytes: their size.
        unknown: objects that belong to no committed unit (left by killed runs, or not ours).
    """

    url: str
    content_id: str
    units: int
    total_units: int
    objects: int
    num_bytes: int
    unknown: tuple[str, ...] = field(default=())

    def summary(self) -> str:
        """Return the report in a few words."""
        text = (
            f"{self.url} is intact: {self.units:,} of {self.total_units:,} units committed, "
            f"{self.objects:,} objects, {self.num_bytes:,} bytes, every checksum right\n"
            f"content id {self.content_id}"
        )
        if self.unknown:
            text += f"\n{len(self.unknown):,} objects belong to no committed unit ({self.unknown[0]}, ...)"
        return text


def verify(url: str | Path) -> VerifyReport:
    """Check everything that a cache holds; stops at the first bad object.

    Raises:
        CorruptChunkError: naming the first bad object and what is wrong with it.
        StoreError: there is no cache, or a newer kdcache wrote it.
        ManifestMismatchError: the URL is pinned, and the cache has another content id.
    """
    address, pin = split_pin(url)
    objects = open_objects(address)
    manifest = read_manifest(objects)
    checker = _Checker(objects, manifest)
    checker.check_metadata()
    records = checker.check_records()
    if pin is not None:
        entries = (entry for record in records for entry in record.objects)
        demand_pinned(objects.url, pin=pin, found=content_id(manifest.identity, entries))
    for record in records:
        checker.check_unit(record)
    return checker.report(records)


class _Checker:
    def __init__(self, objects: ObjectStore, manifest: Manifest) -> None:
        self._objects = objects
        self._manifest = manifest
        self._layout = Layout.of(manifest.identity)
        self._reader = BlockReader(objects, self._layout)

    def check_metadata(self) -> None:
        """Compare every zarr.json with what format 1 says for this manifest, to the byte."""
        self._demand_bytes(ROOT_PATH, expected_root(self._objects, self._layout), limit=ROOT_LIMIT)
        for path, document in array_documents(self._layout).items():
            found = self._document(path)
            self._demand_bytes(path, pretty_json(grown_document(found, document)), limit=ARRAY_LIMIT)

    def check_records(self) -> list[CommitRecord]:
        """Read every record; they must be known units, in the order of writing, as the index says."""
        index = read_index(self._objects)
        names = sorted({*list_units(self._objects), *index})
        strangers = [name for name in names if self._layout.unit(name) is None]
        if strangers:
            raise self._bad(record_path(strangers[0]), "the manifest has no such unit")
        known = {name: self._record(name, index) for name in names}
        units = {
            name: check_record(record, self._layout, url=self._objects.url) for name, record in known.items()
        }
        for name, indexed in index.items():
            if known[name] != indexed:
                raise self._bad(INDEX_PATH, f"its record of {name} differs from {record_path(name)}")
        for unit in units.values():
            self._demand_earlier(unit, known)
        kinds = [SAMPLES, VIEWS, *self._layout.targets]
        order = sorted(units.values(), key=lambda unit: (kinds.index(unit.kind), unit.block, unit.group or 0))
        return [known[unit.name] for unit in order]

    def check_unit(self, record: CommitRecord) -> None:
        """Check the objects of a unit: their bytes, then their meaning."""
        unit = check_record(record, self._layout, url=self._objects.url)
        for entry in record.objects:
            self._check_bytes(entry)
        try:
            self._check_meaning(unit, record)
        except CorruptChunkError as error:
            raise self._reader.explain(record.objects[0].path, error) from error

    def report(self, records: list[CommitRecord]) -> VerifyReport:
        """Sum up."""
        entries = [entry for record in records for entry in record.objects]
        known = {entry.path for entry in entries} | set(array_documents(self._layout))
        known |= {ROOT_PATH, INDEX_PATH, SUMS_PATH, *CARD_PATHS} | {
            record_path(record.unit) for record in records
        }
        return VerifyReport(
            url=self._objects.url,
            content_id=content_id(self._manifest.identity, entries),
            units=len(records),
            total_units=self._layout.num_units,
            objects=len(entries),
            num_bytes=sum(entry.size for entry in entries),
            unknown=tuple(sorted(path for path, *_ in self._objects.list("") if path not in known)),
        )

    def _record(self, name: str, index: Collection[str]) -> CommitRecord:
        try:
            return read_record(self._objects, name)
        except FileNotFoundError as error:
            if name in index:
                raise self._bad(INDEX_PATH, f"its record of {name} has no {record_path(name)}") from error
            raise self._bad(record_path(name), "it is listed, but missing") from error

    def _demand_earlier(self, unit: Unit, known: dict[str, CommitRecord]) -> None:
        needed = [Unit.samples(unit.block)] if unit.group is not None else []
        if unit.group is not None and unit.kind in self._layout.targets:
            needed.append(Unit.views(unit.block, unit.group))
        for earlier in needed:
            if earlier.name not in known:
                raise self._bad(record_path(earlier.name), f"it is missing, yet {unit.name} is committed")

    def _check_bytes(self, entry: ObjectDigest) -> None:
        try:
            size = self._objects.size(entry.path)
            if size != entry.size:
                raise self._bad(entry.path, f"it has {size:,} bytes, its commit record says {entry.size:,}")
            digest = self._sha256(entry)
        except FileNotFoundError as error:
            raise self._bad(entry.path, "it is committed, but missing") from error
        if digest != entry.sha256:
            raise self._bad(entry.path, "its sha256 is not the one in its commit record")

    def _sha256(self, entry: ObjectDigest) -> str:
        digest = hashlib.sha256()
        for start in range(0, entry.size, _BYTES_AT_ONCE):
            digest.update(self._objects.get_range(entry.path, start, min(_BYTES_AT_ONCE, entry.size - start)))
        return digest.hexdigest()

    def _check_meaning(self, unit: Unit, record: CommitRecord) -> None:
        if unit.group is None:
            # The reader has checked the table itself.
            table = self._reader.padded_samples(unit.block)
            _demand(int(table.ok_N.sum()) == record.rows, "its record counts other samples")
            return
        size = self._manifest.identity.seeds_per_group
        is_ok_R = self._reader.padded_samples(unit.block).ok_N
        rows = 0
        for seed in range(unit.group * size, (unit.group + 1) * size):
            if unit.kind in self._layout.targets:
                planes_PR = self._reader.planes(unit.kind, unit.block, seed)
                check_planes(planes_PR, self._manifest.identity.teachers[unit.kind])
                has_data_R = has_targets(planes_PR)
            else:
                self._reader.thumbnails(unit.block, seed)
                has_data_R = self._reader.view_digests(unit.block, seed) != 0
            _demand(not bool((has_data_R & ~is_ok_R).any()), f"aug_seed {seed} has data for a bad sample")
            _demand(bool((has_data_R == is_ok_R).all()), f"aug_seed {seed} lacks data of a good sample")
            rows += int(has_data_R.sum())
        _demand(rows == record.rows, f"it has {rows} views, its record says {record.rows}")

    def _document(self, path: str) -> Any:
        try:
            return read_document(self._objects, path, limit=ARRAY_LIMIT)
        except (FileNotFoundError, CorruptChunkError):
            return None

    def _demand_bytes(self, path: str, expected: bytes, *, limit: int) -> None:
        try:
            found = read_limited(self._objects, path, limit=limit)
        except FileNotFoundError as error:
            raise self._bad(path, "it is missing") from error
        if found != expected:
            raise self._bad(path, "it is not what format 1 writes for this manifest")

    def _bad(self, path: str, problem: str) -> CorruptChunkError:
        return self._reader.explain(path, CorruptChunkError(problem))


def _demand(is_right: bool, problem: str) -> None:
    if not is_right:
        raise CorruptChunkError(problem)
