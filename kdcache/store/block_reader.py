"""The arrays of a cache by block and augmentation seed, straight from its objects.

It does not ask whether a unit is committed: that is the business of who calls it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.arrays import ArraySpec, grown_document, index_bytes
from kdcache.store.chunks import Index, decode_chunk, decode_index, decode_texts
from kdcache.store.documents import ARRAY_LIMIT, read_document
from kdcache.store.head import Planes
from kdcache.store.layout import Layout
from kdcache.store.objects import ObjectStore
from kdcache.store.tables import SampleTable

__all__ = ["BlockReader"]

_INDEXES_KEPT = 256


class BlockReader:
    """Reads one chunk at a time; keeps the indexes of the objects read last, and nothing that grows."""

    def __init__(self, objects: ObjectStore, layout: Layout) -> None:
        self._objects = objects
        self._layout = layout
        self._checked_arrays: set[str] = set()
        self._indexes: OrderedDict[str, Index] = OrderedDict()

    def samples(self, block: int) -> SampleTable:
        """Return the samples of a block, padding left out."""
        return self.padded_samples(block).head(self._layout.blocks[block].num_rows)

    def padded_samples(self, block: int) -> SampleTable:
        """Return the samples of a block and its padding, R rows."""
        arrays = self._layout.samples
        table = SampleTable(
            keys=self._texts(arrays.key, block),
            labels=self._plain(arrays.label, block),
            digests=self._plain(arrays.digest, block),
            status=self._plain(arrays.status, block),
        )
        wrong = table.problem(self._layout.blocks[block].num_rows, num_classes=self._layout.num_classes)
        if wrong is not None:
            spec: ArraySpec = getattr(arrays, wrong[0])
            raise self.explain(spec.object_path(block), CorruptChunkError(wrong[1]))
        return table

    def view_digests(self, block: int, aug_seed: int) -> NDArray[np.uint32]:
        """Return the view digests of one augmentation seed, uint32 (R,)."""
        digests_R: NDArray[np.uint32] = self._chunk(self._layout.views.digest, (block,), aug_seed)[0]
        return digests_R

    def thumbnails(self, block: int, aug_seed: int) -> NDArray[np.uint8]:
        """Return the thumbnails of a block's first rows, uint8 (8, 8, 8, 3)."""
        thumbnails: NDArray[np.uint8] = self._chunk(self._layout.views.thumbnail, (block, 0, 0, 0), aug_seed)[
            0
        ]
        return thumbnails

    def planes(self, teacher: str, block: int, aug_seed: int) -> Planes:
        """Return the encoded targets of one augmentation seed, (P, R)."""
        planes_PR: Planes = self._chunk(self._layout.targets[teacher], (0, block), aug_seed)[0]
        return planes_PR

    def explain(self, path: str, error: CorruptChunkError) -> CorruptChunkError:
        """Say which object an error is about and what to do."""
        return CorruptChunkError(
            f"{path} in {self._objects.url} is damaged: {error}; fetch the cache again, or delete the unit's "
            "commit record and objects and run the same precompute command again"
        )

    def _chunk(self, spec: ArraySpec, rest: tuple[int, ...], aug_seed: int) -> Any:
        group, number = divmod(aug_seed, spec.chunks_per_object)
        path = spec.object_path(group, *rest)
        self._check_array(spec)
        with self._explained(path):
            start, size = self._index(spec, path)[number].tolist()
            data = self._objects.get_range(path, start, size)
            return decode_chunk(data, spec.dtype, spec.chunk)

    def _plain(self, spec: ArraySpec, block: int) -> Any:
        self._check_array(spec)
        path = spec.object_path(block)
        with self._explained(path):
            return decode_chunk(self._whole(spec, path), spec.dtype, spec.chunk)

    def _texts(self, spec: ArraySpec, block: int) -> tuple[str, ...]:
        self._check_array(spec)
        path = spec.object_path(block)
        with self._explained(path):
            return decode_texts(self._whole(spec, path), spec.chunk[0])

    def _whole(self, spec: ArraySpec, path: str) -> bytes:
        size = self._objects.size(path)
        if size > spec.largest_object:
            raise CorruptChunkError(
                f"it has {size:,} bytes, more than the {spec.largest_object:,} that it can have"
            )
        return self._objects.get_range(path, 0, size)

    def _index(self, spec: ArraySpec, path: str) -> Index:
        if path in self._indexes:
            self._indexes.move_to_end(path)
            return self._indexes[path]
        num_chunks = spec.chunks_per_object
        data = self._objects.get_range(path, 0, index_bytes(num_chunks))
        index = decode_index(data, num_chunks)
        starts, sizes = index[:, 0], index[:, 1]
        is_inside = (starts >= index_bytes(num_chunks)) & (starts <= spec.largest_object)
        if not (is_inside & (sizes <= spec.largest_chunk)).all():
            raise CorruptChunkError("its index points to where no chunk can be")
        self._indexes[path] = index
        if len(self._indexes) > _INDEXES_KEPT:
            self._indexes.popitem(last=False)
        return index

    def _check_array(self, spec: ArraySpec) -> None:
        """Read the array's metadata once and accept nothing but what format 1 writes."""
        if spec.path in self._checked_arrays:
            return
        try:
            found = read_document(self._objects, spec.metadata_path, limit=ARRAY_LIMIT)
        except FileNotFoundError as error:
            raise StoreError(
                f"{spec.metadata_path} is missing in {self._objects.url}; fetch the cache again"
            ) from error
        if grown_document(found, spec.document()) != found:
            raise StoreError(
                f"{spec.metadata_path} in {self._objects.url} is not what format 1 says for this manifest "
                "(its shape, data type or codecs differ); nothing was decoded: fetch the cache again"
            )
        self._checked_arrays.add(spec.path)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            missing = CorruptChunkError("it is committed, but missing")
            raise self.explain(path, missing) from error
        except CorruptChunkError as error:
            raise self.explain(path, error) from error
