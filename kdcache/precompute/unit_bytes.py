"""How many bytes units take: real objects, packed from the rows of a pilot."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.data.index import ShardIndex
from kdcache.precompute.forecast import predicted_bytes
from kdcache.precompute.look import Look
from kdcache.precompute.pilot_rows import PilotRows, chunk_rows
from kdcache.store.arrays import ArraySpec
from kdcache.store.commits import CommitRecord, ObjectDigest, dump_record
from kdcache.store.documents import pretty_json
from kdcache.store.layout import LABEL_FILL, SAMPLES, THUMBNAIL_ROWS, VIEWS, Block, Layout, Unit
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore
from kdcache.store.pack import encode_object
from kdcache.store.root import array_documents, dump_root
from kdcache.store.tables import STATUS_OK, STATUS_PADDING, STATUS_UNDECODABLE

__all__ = ["UnitBytes", "added_bytes", "committed_bytes", "metadata_bytes"]

_BLOCKS_READ = 4
"""Blocks of each size whose keys are read."""

_MOST_BYTES = 64 << 20
"""Decoded size of the chunks that are packed in one go; one chunk always is."""

Rows = NDArray[np.intp]
Fill = Callable[[NDArray[Any], Rows], None]


@dataclass(frozen=True, slots=True)
class UnitBytes:
    """What units of one cache take, by how many of a block's rows hold samples."""

    layout: Layout
    pilot: PilotRows

    def of_targets(self, teacher: str, num_rows: int) -> float:
        """Return the bytes of one teacher's unit."""
        planes_PN = self.pilot.planes[teacher]

        def fill(chunks: NDArray[Any], rows: Rows) -> None:
            chunks[:, :, :num_rows] = planes_PN[:, rows].swapaxes(0, 1)

        return self._object_bytes(self.layout.targets[teacher], num_rows, fill)

    def of_views(self, num_rows: int) -> float:
        """Return the bytes of a unit of views: digests, which nothing compresses, and thumbnails."""

        def fill_digests(chunks: NDArray[Any], rows: Rows) -> None:
            noise = _noise(rows.size).reshape(rows.shape).astype(np.uint32)
            chunks[:, :num_rows] = np.where(self.pilot.ok_N[rows], noise, 0)

        def fill_thumbnails(chunks: NDArray[Any], rows: Rows) -> None:
            chunks[:, : rows.shape[1]] = self.pilot.thumbnails_N[rows]

        views, shown = self.layout.views, min(num_rows, THUMBNAIL_ROWS)
        digests = self._object_bytes(views.digest, num_rows, fill_digests)
        return digests + self._object_bytes(views.thumbnail, shown, fill_thumbnails)

    def of_samples(self, keys: Sequence[str]) -> float:
        """Return the bytes of the unit of a block with these samples."""
        (rows,) = chunk_rows(self.pilot.runs, num_rows=len(keys), num_chunks=1)
        status_N = np.where(self.pilot.ok_N[rows], STATUS_OK, STATUS_UNDECODABLE)
        samples = self.layout.samples
        return float(
            _column_bytes(samples.key, np.array(keys, dtype=object), padding="")
            + _column_bytes(samples.label, self.pilot.labels_N[rows], padding=LABEL_FILL)
            + _column_bytes(samples.digest, _noise(len(keys)), padding=0)
            + _column_bytes(samples.status, status_N, padding=STATUS_PADDING)
        )

    def _object_bytes(self, spec: ArraySpec, num_rows: int, fill: Fill) -> float:
        """Return the size of an object whose chunks are like those that the pilot fills."""
        most = max(1, _MOST_BYTES // spec.chunk_bytes)
        num_chunks = max(1, min(most, len(self.pilot) // num_rows))
        shape = (num_chunks, *spec.chunk[1:])
        chunks = np.full(shape, spec.fill, dtype=spec.dtype)
        fill(chunks, chunk_rows(self.pilot.runs, num_rows=num_rows, num_chunks=num_chunks))
        packed = len(encode_object(replace(spec, shape=shape, shard=shape), chunks))
        per_chunk = (packed - _index_bytes(num_chunks)) / num_chunks
        return _index_bytes(spec.chunks_per_object) + spec.chunks_per_object * per_chunk


def added_bytes(look: Look, pilot: PilotRows) -> dict[str, int]:
    """Return the bytes that a run adds by kind of unit: ``samples``, ``views`` and each teacher."""
    sizes, blocks = UnitBytes(look.layout, pilot), look.new_samples()
    found = {
        name: predicted_bytes(
            Counter(task.block.num_rows for task in look.tasks_of(name)), partial(sizes.of_targets, name)
        )
        for name in pilot.planes
    }

    def of_samples(num_rows: int) -> float:
        alike = [block for block in blocks if block.num_rows == num_rows]
        read = alike[:: -(-len(alike) // _BLOCKS_READ)]
        return fmean(sizes.of_samples(_keys(look.prepared.settings.data.indexes[b.shard], b)) for b in read)

    found[VIEWS] = predicted_bytes(Counter(task.block.num_rows for task in look.new_views()), sizes.of_views)
    found[SAMPLES] = predicted_bytes(Counter(block.num_rows for block in blocks), of_samples)
    return found


def committed_bytes(look: Look, objects: ObjectStore) -> int:
    """Return the bytes of the data objects that are there, by the store's own listing."""
    sizes = {entry.path: entry.size for entry in objects.list("")}
    return sum(
        sizes.get(spec.object_path(*position), 0)
        for unit in look.layout.units()
        if unit.name in look.committed
        for spec, position in look.layout.objects_of(unit)
    )


def metadata_bytes(manifest: Manifest, layout: Layout, units: Collection[Unit]) -> int:
    """Return about how long everything is that is no data object: zarr.json files, records and their index."""
    documents = [dump_root(manifest), *map(pretty_json, array_documents(layout).values())]
    kinds = {unit.kind: unit for unit in units}
    counts = Counter(unit.kind for unit in units)
    records = sum(count * _record_bytes(layout, kinds[kind]) for kind, count in counts.items())
    return sum(map(len, documents)) + 2 * records  # the index holds each record once more


def _keys(index: ShardIndex | None, block: Block) -> list[str]:
    assert index is not None, "only shards that were given have anything left to do"
    return [index.key(row) for row in range(block.first, block.first + block.num_rows)]


def _record_bytes(layout: Layout, unit: Unit) -> int:
    objects = tuple(
        ObjectDigest(path=spec.object_path(*position), size=100_000, sha256="0" * 64)
        for spec, position in layout.objects_of(unit)
    )
    return len(dump_record(CommitRecord(unit=unit.name, objects=objects, rows=1000, seconds=10.123)))


def _column_bytes(spec: ArraySpec, values: NDArray[Any], *, padding: int | str) -> int:
    column = np.full(spec.chunk, padding, dtype=object if spec.dtype == "string" else spec.dtype)
    column[: len(values)] = values
    return len(encode_object(replace(spec, shape=spec.chunk), column))


def _noise(count: int) -> NDArray[np.uint64]:
    """Return what digests look like to a compressor."""
    words: NDArray[np.uint64] = np.random.Philox(key=1).random_raw(count)
    return words


def _index_bytes(num_chunks: int) -> int:
    """Return the size of a Zarr shard's index: offset and length of each chunk, and a checksum."""
    return 16 * num_chunks + 4
