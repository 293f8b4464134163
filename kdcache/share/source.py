"""What a cache says it holds, read without trust: names, sizes and units that the layout knows, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdcache.errors import CorruptChunkError
from kdcache.share.pool import in_parallel
from kdcache.store.arrays import ArraySpec
from kdcache.store.commits import CommitRecord, content_id
from kdcache.store.layout import INDEX_PATH, Layout, Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore
from kdcache.store.records import read_index, read_listed
from kdcache.store.root import read_manifest
from kdcache.store.stored import UNKNOWN_SIZE

__all__ = ["Source", "damaged", "read_source"]

_FOLDER, _SUFFIX = "commits/", ".json"
_LARGEST_TEXTS = 1 << 28
_MORE_THAN_DATA = 4096


@dataclass(frozen=True)
class Source:
    """A cache as its manifest, its records and a listing describe it; no data object was read.

    Attributes:
        records: of all committed units, in the order of writing; their objects are what the layout says.
        sizes: of what was listed with its size.
    """

    objects: ObjectStore
    manifest: Manifest
    layout: Layout
    records: Mapping[Unit, CommitRecord]
    sizes: Mapping[str, int]

    @property
    def content_id(self) -> str:
        """Return the cache's content id."""
        entries = (entry for record in self.records.values() for entry in record.objects)
        return content_id(self.manifest.identity, entries)

    def check_sizes(self, record: CommitRecord) -> None:
        """Compare what was listed with what a record says.

        Raises:
            CorruptChunkError: an object has another size; it is named.
        """
        for entry in record.objects:
            found = self.sizes.get(entry.path, entry.size)
            if found != entry.size:
                problem = f"it has {found:,} bytes, its commit record says {entry.size:,}"
                raise damaged(self.objects, entry.path, problem)


def read_source(objects: ObjectStore, *, jobs: int) -> Source:
    """Read manifest and records, and check that they name nothing but what the layout has.

    Raises:
        StoreError: there is no cache, or a newer kdcache wrote it.
        CorruptChunkError: something is damaged, or made up; it is named.
    """
    manifest = read_manifest(objects)
    layout = Layout.of(manifest.identity)
    entries = list(objects.list(""))
    known = {unit.name for unit in layout.units()}
    found = _read_records(objects, known, [entry.path for entry in entries], jobs)
    sizes = {entry.path: entry.size for entry in entries if entry.size != UNKNOWN_SIZE}
    records = {unit: found[unit.name] for unit in layout.units() if unit.name in found}
    for unit, record in records.items():
        _check_earlier(objects, layout, unit, found)
        _check_objects(objects, layout, unit, record)
    return Source(objects, manifest, layout, records, sizes)


def damaged(objects: ObjectStore, path: str, problem: str) -> CorruptChunkError:
    """Return the error that names an object; ``path`` may have been written by anybody."""
    return CorruptChunkError(
        f"{path if path.isprintable() else repr(path)} in {objects.url} is damaged: {problem}; nothing of it was "
        "taken: kdcache verify looks at the whole cache; get it from another copy, or delete the unit's commit record "
        "and objects and run the same precompute command again"
    )


def _read_records(
    objects: ObjectStore, known: set[str], paths: Sequence[str], jobs: int
) -> dict[str, CommitRecord]:
    listed = {
        path.removeprefix(_FOLDER).removesuffix(_SUFFIX)
        for path in paths
        if path.startswith(_FOLDER) and path.endswith(_SUFFIX) and path != INDEX_PATH
    }
    records = read_index(objects)
    for name in sorted({*listed, *records}):
        if name not in known:
            raise damaged(objects, record_path(name), "the manifest has no such unit")

    def read(name: str) -> None:
        records[name] = read_listed(objects, name)
        if records[name].unit != name:
            raise damaged(objects, record_path(name), f"it is the record of {records[name].unit!r}")

    in_parallel(sorted(listed - set(records)), read, jobs=jobs)
    return records


def _check_earlier(
    objects: ObjectStore, layout: Layout, unit: Unit, found: Mapping[str, CommitRecord]
) -> None:
    needed = [] if unit.group is None else [Unit.samples(unit.block)]
    if unit.group is not None and unit.kind in layout.targets:
        needed.append(Unit.views(unit.block, unit.group))
    for earlier in needed:
        if earlier.name not in found:
            raise damaged(objects, record_path(earlier.name), f"it is missing, yet {unit.name} is committed")


def _check_objects(objects: ObjectStore, layout: Layout, unit: Unit, record: CommitRecord) -> None:
    expected = [(spec, spec.object_path(*position)) for spec, position in layout.objects_of(unit)]
    names, wanted = [entry.path for entry in record.objects], [path for _, path in expected]
    strange = [name for name in names if name not in wanted]
    if strange:
        problem = f"it names {strange[0][:200]!r}, where a unit like this has {', '.join(wanted)} only"
        raise damaged(objects, record_path(unit.name), problem)
    if names != wanted:
        problem = f"it does not name each of {', '.join(wanted)} once and in this order"
        raise damaged(objects, record_path(unit.name), problem)
    for entry, (spec, _) in zip(record.objects, expected, strict=True):
        if entry.size > _largest(spec):
            problem = f"it says {entry.size:,} bytes, but such an object has at most {_largest(spec):,}"
            raise damaged(objects, record_path(unit.name), problem)


def _largest(spec: ArraySpec) -> int:
    if spec.dtype == "string":
        return _LARGEST_TEXTS
    return spec.chunks_per_object * (spec.chunk_bytes + _MORE_THAN_DATA) + _MORE_THAN_DATA
