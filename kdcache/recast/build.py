"""Writing a cache out of units of other caches: objects first, each unit's record behind them, all checked."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcache.digest import sha256_hex
from kdcache.errors import StoreError
from kdcache.recast.source import Source
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.progress import make_progress
from kdcache.store.commits import CommitRecord, ObjectDigest, content_id, dump_index, dump_record
from kdcache.store.create import create_or_resume
from kdcache.store.layout import INDEX_PATH, ROOT_PATH, SAMPLES, VIEWS, Layout, Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.records import list_units, read_record
from kdcache.store.root import read_manifest
from kdcache.store.schemes import demand_makeable

__all__ = ["Recode", "UnitWork", "build", "content_id_of", "open_target"]

_THREADS = 8
_ORIGINS = ("parent", "merged_from")

Recode = Callable[[Source, Unit], tuple[bytes, dict[str, Any]]]
"""Reads a unit of one object and returns other bytes for it, and what changes in its record."""


@dataclass(frozen=True, slots=True)
class UnitWork:
    """One unit of the new cache, and where it comes from.

    Attributes:
        unit: the unit in the new cache.
        source: the cache that has it.
        origin: its name there.
        recode: None copies objects byte for byte.
    """

    unit: Unit
    source: Source
    origin: Unit
    recode: Recode | None = None

    @property
    def origin_record(self) -> CommitRecord:
        """What the source says of the unit."""
        return self.source.records[self.origin.name]

    def record(self, layout: Layout) -> CommitRecord:
        """Return the record of the copied unit: its own name and paths, and what the source says of it."""
        pairs = zip(layout.objects_of(self.unit), self.origin_record.objects, strict=True)
        moved = tuple(
            entry.model_copy(update={"path": spec.object_path(*position)})
            for (spec, position), entry in pairs
        )
        return self.origin_record.model_copy(update={"unit": self.unit.name, "objects": moved})

    def contents(self, layout: Layout) -> Iterator[tuple[ObjectDigest, bytes, dict[str, Any]]]:
        """Yield each object: what it is, its bytes, and what changes in the unit's record."""
        record = self.record(layout)
        if self.recode is None:
            for entry, origin in zip(record.objects, self.origin_record.objects, strict=True):
                yield entry, self.source.read(origin), {}
            return
        data, changes = self.recode(self.source, self.origin)
        entry = ObjectDigest(path=record.objects[0].path, size=len(data), sha256=sha256_hex(data))
        yield entry, data, changes


def content_id_of(manifest: Manifest, work: Sequence[UnitWork]) -> str | None:
    """Return the content id that the work will come to; None if some of it is still to be encoded."""
    if any(one.recode for one in work):
        return None
    layout = Layout.of(manifest.identity)
    return content_id(manifest.identity, (entry for one in work for entry in one.record(layout).objects))


def open_target(url: str | Path, manifest: Manifest, sources: Sequence[Source]) -> ObjectStore:
    """Return where the new cache goes: a new place, or one where this very work was begun.

    Raises:
        ConfigError: it is on a web server or a hub, where none is made.
        StoreError: another cache is there, or it is one of the sources.
    """
    objects = open_objects(url)
    demand_makeable(objects)
    if _place(objects.url) in {_place(source.url) for source in sources}:
        raise StoreError(f"--out {objects.url} is one of the caches to read; give it a new path")
    with contextlib.suppress(FileNotFoundError):
        objects.size(ROOT_PATH)
        there = read_manifest(objects)
        ours, theirs = manifest.about.model_dump(), there.about.model_dump()
        is_same = all(ours.get(name) == theirs.get(name) for name in _ORIGINS)
        if not is_same or there.identity.canonical() != manifest.identity.canonical():
            raise StoreError(
                f"{objects.url} holds another cache than this command makes, or one of another origin; give "
                "--out a new path, or remove what is there"
            )
    return objects


def build(
    objects: ObjectStore, manifest: Manifest, work: Sequence[UnitWork], *, label: str, quiet: bool
) -> tuple[tuple[CommitRecord, ...], int]:
    """Write what is not there yet; return all records, and how many of them were there.

    Raises:
        CorruptChunkError: an object of a source is damaged.
        StoreError: the cache cannot be written, or other bytes are there already.
        InterruptedRunError: a signal came; what was written stays, and the same call goes on from there.
    """
    writer = _Writer(objects, Layout.of(create_or_resume(objects, manifest).identity))
    before = set(list_units(objects))
    found = {one.unit.name: writer.agreed(one) for one in work if one.unit.name in before}
    left = [one for one in work if one.unit.name not in found]
    total = sum(one.origin_record.num_bytes for one in left)
    with Interrupts() as interrupts, make_progress(label, total=total, unit="bytes", quiet=quiet) as progress:
        # Samples before views before targets: a cache that is cut off here must be one.
        for kinds in _stages(left):
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="kdcache-copy") as pool:
                for one, record in zip(kinds, pool.map(writer.write, kinds), strict=True):
                    found[record.unit] = record
                    progress.advance(one.origin_record.num_bytes)
                    if interrupts.requested:
                        pool.shutdown(cancel_futures=True)
                    interrupts.raise_if_requested(
                        f"{len(found):,} of {len(work):,} units are in {objects.url} and stay; "
                        "to continue: run the same command again"
                    )
    records = tuple(found[one.unit.name] for one in work)
    objects.replace(INDEX_PATH, dump_index(records))
    return records, len(work) - len(left)


@dataclass(frozen=True, slots=True)
class _Writer:
    objects: ObjectStore
    layout: Layout

    def write(self, work: UnitWork) -> CommitRecord:
        """Publish one unit."""
        record = work.record(self.layout)
        entries: list[ObjectDigest] = []
        changes: dict[str, Any] = {}
        for entry, data, found in work.contents(self.layout):
            is_ours = self.objects.put_new(entry.path, data) or self.objects.get(entry.path) == data
            if not is_ours:
                raise self._other(entry.path)
            entries.append(entry)
            changes |= found
        record = record.model_copy(update={"objects": tuple(entries), **changes})
        self.objects.put_new(record_path(record.unit), dump_record(record))
        return record

    def agreed(self, work: UnitWork) -> CommitRecord:
        """Return the record of a unit that is there; a copied one must be the same."""
        there = read_record(self.objects, work.unit.name)
        if work.recode is None and there.objects != work.record(self.layout).objects:
            raise self._other(record_path(work.unit.name))
        return there

    def _other(self, path: str) -> StoreError:
        return StoreError(
            f"{path} in {self.objects.url} is there already and is not what belongs there; give --out a new path"
        )


def _stages(work: Sequence[UnitWork]) -> Iterator[list[UnitWork]]:
    yield [one for one in work if one.unit.kind == SAMPLES]
    yield [one for one in work if one.unit.kind == VIEWS]
    yield [one for one in work if one.unit.kind not in {SAMPLES, VIEWS}]


def _place(url: str) -> str:
    return url if "://" in url else str(Path(url).resolve())
