"""Checking a whole cache: structure, every checksum, and what every stored view must fulfil."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kdcache.digest import sha256_hex
from kdcache.errors import CorruptChunkError
from kdcache.store.arrays import grown_document
from kdcache.store.block_reader import BlockReader
from kdcache.store.commits import CommitRecord, ObjectDigest, content_id
from kdcache.store.documents import ARRAY_LIMIT, ROOT_LIMIT, pretty_json, read_document, read_limited
from kdcache.store.invariants import check_planes, has_targets
from kdcache.store.layout import INDEX_PATH, LABEL_FILL, ROOT_PATH, Layout, Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.pin import demand_pinned, split_pin
from kdcache.store.records import list_units, read_index, read_record
from kdcache.store.root import array_documents, expected_root, read_manifest
from kdcache.store.tables import NO_LABEL, STATUS_NAMES, STATUS_OK, STATUS_PADDING

__all__ = ["VerifyReport", "verify"]


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
        self._units = {unit.name: unit for unit in self._layout.units()}

    def check_metadata(self) -> None:
        """Compare every zarr.json with what format 1 says for this manifest, to the byte."""
        self._demand_bytes(ROOT_PATH, expected_root(self._objects, self._layout), limit=ROOT_LIMIT)
        for path, document in array_documents(self._layout).items():
            found = self._document(path)
            self._demand_bytes(path, pretty_json(grown_document(found, document)), limit=ARRAY_LIMIT)

    def check_records(self) -> list[CommitRecord]:
        """Read every record; they must be known units, in the order of writing, as the index says."""
        names = sorted(list_units(self._objects))
        known = {record.unit: record for record in (self._record(name) for name in names)}
        for name, indexed in read_index(self._objects).items():
            if known.get(name) != indexed:
                problem = "differs from" if name in known else "has no"
                raise self._bad(INDEX_PATH, f"its record of {name} {problem} {record_path(name)}")
        for name in names:
            self._demand_earlier(self._units[name], known)
        return [known[name] for name in self._units if name in known]

    def check_unit(self, record: CommitRecord) -> None:
        """Check the objects of a unit: their bytes, then their meaning."""
        unit = self._units[record.unit]
        expected = [spec.object_path(*position) for spec, position in self._layout.objects_of(unit)]
        if [entry.path for entry in record.objects] != expected:
            raise self._bad(record_path(unit.name), f"it names other objects than {', '.join(expected)}")
        for entry in record.objects:
            self._check_bytes(entry)
        try:
            self._check_meaning(unit, record)
        except CorruptChunkError as error:
            raise self._reader.explain(expected[0], error) from error

    def report(self, records: list[CommitRecord]) -> VerifyReport:
        """Sum up."""
        entries = [entry for record in records for entry in record.objects]
        known = (
            {entry.path for entry in entries} | set(array_documents(self._layout)) | {ROOT_PATH, INDEX_PATH}
        )
        known |= {record_path(record.unit) for record in records}
        return VerifyReport(
            url=self._objects.url,
            content_id=content_id(self._manifest.identity, entries),
            units=len(records),
            total_units=len(self._units),
            objects=len(entries),
            num_bytes=sum(entry.size for entry in entries),
            unknown=tuple(sorted(path for path, *_ in self._objects.list("") if path not in known)),
        )

    def _record(self, name: str) -> CommitRecord:
        path = record_path(name)
        if name not in self._units:
            raise self._bad(path, "the manifest has no such unit")
        record = read_record(self._objects, name)
        if record.unit != name:
            raise self._bad(path, f"it is the record of {record.unit}")
        return record

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
            data = self._objects.get(entry.path)
        except FileNotFoundError as error:
            raise self._bad(entry.path, "it is committed, but missing") from error
        if sha256_hex(data) != entry.sha256:
            raise self._bad(entry.path, "its sha256 is not the one in its commit record")

    def _check_meaning(self, unit: Unit, record: CommitRecord) -> None:
        if unit.group is None:
            self._check_samples(unit, record)
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
                _demand(bool((has_data_R == is_ok_R).all()), f"aug_seed {seed} lacks views, or has too many")
            _demand(not bool((has_data_R & ~is_ok_R).any()), f"aug_seed {seed} has data for a bad sample")
            rows += int(has_data_R.sum())
        _demand(rows == record.rows, f"it has {rows} views, its record says {record.rows}")

    def _check_samples(self, unit: Unit, record: CommitRecord) -> None:
        table = self._reader.padded_samples(unit.block)
        num_rows = self._layout.blocks[unit.block].num_rows
        status_N, padding = table.status[:num_rows], table.status[num_rows:]
        _demand(bool(np.isin(status_N, [STATUS_OK, *STATUS_NAMES]).all()), "a sample has an unknown status")
        _demand(bool((padding == STATUS_PADDING).all()), "padding is not marked as such")
        _demand(not any(table.keys[num_rows:]), "padding has keys")
        _demand(len(set(table.keys[:num_rows])) == num_rows, "a key is there twice")
        _demand(bool((table.labels[:num_rows] >= NO_LABEL).all()), "a label is below -1")
        top = self._manifest.identity.num_classes
        _demand(bool((table.labels[:num_rows] < top).all()), f"a label is not below {top}")
        _demand(bool((table.labels[num_rows:] == LABEL_FILL).all()), "padding has labels")
        _demand(int(table.ok_N.sum()) == record.rows, "its record counts other samples")

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
