"""Writing a cache: whole units, published once, described by a commit record.

Any number of writers may start, race and die. Objects and records are create-only: whoever comes second
checks and describes what is there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kdcache.digest import sha256_hex
from kdcache.errors import ManifestMismatchError, StoreError, ViewMismatchError
from kdcache.store.arrays import LONGEST_TEXT
from kdcache.store.block_reader import BlockReader
from kdcache.store.commits import CommitRecord, ObjectDigest, dump_index, dump_record
from kdcache.store.create import create_or_resume
from kdcache.store.documents import INDEX_LIMIT, is_readable
from kdcache.store.head import Planes
from kdcache.store.invariants import check_planes, has_targets
from kdcache.store.layout import INDEX_PATH, LABEL_FILL, Layout, Unit, record_path
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.pack import encode_object
from kdcache.store.records import list_units, read_record
from kdcache.store.tables import STATUS_PADDING, SampleTable

__all__ = ["CacheWriter"]


class CacheWriter:
    """Writes the units of one cache; safe to use from several threads and processes at once."""

    def __init__(self, objects: ObjectStore, manifest: Manifest) -> None:
        self.manifest = manifest
        self.layout = Layout.of(manifest.identity)
        self._objects = objects
        self._reader = BlockReader(objects, self.layout)

    @classmethod
    def create_or_resume(cls, url: str | Path, manifest: Manifest, *, grow: bool = False) -> Self:
        """Create a cache, or continue one that has the same identity; a new teacher is added to it.

        With ``grow`` further shards and augmentation seeds are added, too.

        Raises:
            ManifestMismatchError: the cache there has another identity; each field that differs is named.
            StoreError: something else is there, or it cannot be written.
        """
        objects = open_objects(url)
        return cls(objects, create_or_resume(objects, manifest, grow=grow))

    def committed(self) -> set[str]:
        """Return the names of all committed units, read anew at every call."""
        return set(list_units(self._objects))

    def is_committed(self, unit_name: str) -> bool:
        """Look up whether a unit is committed by now."""
        try:
            self._objects.size(record_path(unit_name))
        except FileNotFoundError:
            return False
        return True

    def samples(self, block: int) -> SampleTable:
        """Return the committed samples of a block."""
        return self._reader.samples(block)

    def view_digests(self, block: int, group: int) -> NDArray[np.uint32]:
        """Return the committed view digests of a unit, uint32 (G, R)."""
        return np.stack([self._reader.view_digests(block, seed) for seed in self._seeds(group)])

    def write_samples(self, block: int, table: SampleTable, *, seconds: float) -> CommitRecord:
        """Commit the samples of a block; if they are committed already they must be these.

        Raises:
            ManifestMismatchError: other samples are there; the first one that differs is named.
        """
        if len(table) != self.layout.blocks[block].num_rows:
            raise ValueError(
                f"block {block} has {self.layout.blocks[block].num_rows} samples, not {len(table)}"
            )
        self._demand_readable(block, table)
        unit = Unit.samples(block)

        def compare() -> None:
            difference = table.first_difference(self._reader.samples(block))
            if difference is not None:
                raise ManifestMismatchError(
                    f"shard {self._shard_name(block)!r} changed since {self._objects.url} was made: "
                    f"{difference} in the cache (block {block}); "
                    "restore the shard, or make a new cache with another --cache"
                )

        record = {"rows": int(table.ok_N.sum()), "failures": table.failures(), "seconds": seconds}
        return self._publish(unit, lambda: self._sample_arrays(table), record, compare)

    def write_views(
        self,
        block: int,
        group: int,
        digests_GR: NDArray[np.uint32],
        thumbnails: NDArray[np.uint8],
        *,
        seconds: float,
    ) -> CommitRecord:
        """Commit what the views of a unit look like; if they are committed already they must be these.

        Args:
            block: number of the block.
            group: number of the group of augmentation seeds.
            digests_GR: uint32 (G, R), 0 for bad samples and padding.
            thumbnails: uint8 (G, 8, 8, 8, 3) of the block's first rows, zeros where there is none.
            seconds: how long rendering took.

        Raises:
            ViewMismatchError: other views are there; the first sample and augmentation seed are named.
        """
        unit = Unit.views(block, group)
        self._demand_committed(Unit.samples(block), before=unit)

        def compare() -> None:
            differs_GR = digests_GR != self.view_digests(block, group)
            if differs_GR.any():
                raise ViewMismatchError(self._view_message(block, group, differs_GR))

        record = {"rows": int((digests_GR != 0).sum()), "seconds": seconds}
        return self._publish(unit, lambda: iter((digests_GR, thumbnails)), record, compare)

    def write_targets(
        self,
        teacher: str,
        block: int,
        group: int,
        planes_GPR: Planes,
        *,
        labelled: int,
        correct: int,
        saturated: int,
        failures: dict[str, int],
        seconds: float,
    ) -> CommitRecord:
        """Commit a teacher's targets of a unit; if they are there already, those stay.

        Args:
            teacher: the teacher's name in the manifest.
            block: number of the block.
            group: number of the group of augmentation seeds.
            planes_GPR: encoded targets (G, P, R), the fill in rows without any.
            labelled: views with a label.
            correct: of those, how many the teacher puts first.
            saturated: see ``kdcache.store.gap8.count_saturated``.
            failures: views without targets by reason.
            seconds: how long the teacher took.

        Raises:
            CorruptChunkError: the planes are not what the encoding allows.
        """
        unit = Unit(teacher, block, group)
        self._demand_committed(Unit.views(block, group), before=unit)
        for planes_PR in planes_GPR:
            check_planes(planes_PR, self.manifest.identity.teachers[teacher])

        def compare() -> None:
            # Another run's outputs may differ in the last bit; they only have to be whole.
            for seed in self._seeds(group):
                check_planes(
                    self._reader.planes(teacher, block, seed), self.manifest.identity.teachers[teacher]
                )

        rows = sum(int(has_targets(planes_PR).sum()) for planes_PR in planes_GPR)
        record = {"rows": rows, "labelled": labelled, "correct": correct, "saturated": saturated}
        record_fields = record | {"failures": failures, "seconds": seconds}
        return self._publish(unit, lambda: iter((planes_GPR,)), record_fields, compare)

    def finish(self) -> None:
        """Write ``commits/index.json``, which makes opening the cache fast.

        One of hundreds of thousands of units would be larger than readers take: they then read record by record.
        """
        found = (self._read_record(name) for name in sorted(self.committed()))
        records = [record for record in found if record is not None]
        for record in {record.unit.partition("/")[0]: record for record in records}.values():
            self._settle(record)
        index = dump_index(records)
        if is_readable(index, limit=INDEX_LIMIT):
            self._objects.replace(INDEX_PATH, index)

    def _publish(
        self,
        unit: Unit,
        arrays: Callable[[], Iterator[NDArray[Any]]],
        fields: dict[str, Any],
        compare: Callable[[], None],
    ) -> CommitRecord:
        committed = self._read_record(unit.name)
        if committed is not None:
            compare()
            self._settle(committed)
            return committed
        digests, is_ours = self._put_objects(unit, arrays())
        if not is_ours:
            compare()
        fields["seconds"] = round(fields["seconds"], 3)
        record = CommitRecord(unit=unit.name, objects=digests, **fields)
        if self._objects.put_new(record_path(unit.name), dump_record(record)):
            return record
        return self._read_record(unit.name) or record

    def _settle(self, record: CommitRecord) -> None:
        """Make what another writer committed durable, with all records of its folder, before building on it.

        That writer may stand, or may have died, just before it did so; a put that finds the name taken does it.
        """
        self._objects.put_new(record_path(record.unit), dump_record(record))

    def _put_objects(
        self, unit: Unit, arrays: Iterator[NDArray[Any]]
    ) -> tuple[tuple[ObjectDigest, ...], bool]:
        """Put the objects of a unit; return what is there now, and whether all of it is ours."""
        digests, is_ours = [], True
        for (spec, position), values in zip(self.layout.objects_of(unit), arrays, strict=True):
            path, data = spec.object_path(*position), encode_object(spec, values)
            if not self._objects.put_new(path, data):
                there = self._objects.get(path)
                is_ours, data = is_ours and there == data, there
            digests.append(ObjectDigest(path=path, size=len(data), sha256=sha256_hex(data)))
        return tuple(digests), is_ours

    def _demand_readable(self, block: int, table: SampleTable) -> None:
        """Refuse what no reader would take from us."""
        wrong = table.problem(len(table), num_classes=self.layout.num_classes)
        problem = None if wrong is None else wrong[1]
        if sum(len(key.encode()) for key in table.keys) > LONGEST_TEXT * len(table):
            problem = f"its keys are longer than {LONGEST_TEXT:,} bytes"
        if problem is not None:
            raise StoreError(f"shard {self._shard_name(block)!r} cannot be cached: {problem}; pack it again")

    def _sample_arrays(self, table: SampleTable) -> Iterator[NDArray[Any]]:
        padding = self.manifest.identity.rows_per_block - len(table)
        yield np.array([*table.keys, *[""] * padding], dtype=object)
        yield np.pad(table.labels, (0, padding), constant_values=LABEL_FILL).astype(np.int32)
        yield np.pad(table.digests, (0, padding)).astype(np.uint64)
        yield np.pad(table.status, (0, padding), constant_values=STATUS_PADDING).astype(np.uint8)

    def _read_record(self, unit_name: str) -> CommitRecord | None:
        try:
            return read_record(self._objects, unit_name)
        except FileNotFoundError:
            return None

    def _demand_committed(self, needed: Unit, *, before: Unit) -> None:
        if self._read_record(needed.name) is None:
            raise StoreError(f"{before.name} cannot be written before {needed.name} is committed")

    def _seeds(self, group: int) -> range:
        size = self.manifest.identity.seeds_per_group
        return range(group * size, (group + 1) * size)

    def _shard_name(self, block: int) -> str:
        return self.manifest.identity.shards[self.layout.blocks[block].shard].name

    def _view_message(self, block: int, group: int, differs_GR: NDArray[np.bool_]) -> str:
        seed, row = (int(i) for i in np.argwhere(differs_GR)[0])
        keys = self._reader.samples(block).keys
        key = repr(keys[row]) if row < len(keys) else f"in padding row {row}"
        return (
            f"sample {key} under aug_seed {self._seeds(group)[seed]} renders to other pixels than "
            f"{self._objects.url} was made with ({int(differs_GR.sum())} of {differs_GR.size} views of "
            f"{Unit.views(block, group).name} differ); use the versions of Pillow and NumPy that "
            "'kdcache info' names, or a new --cache"
        )
