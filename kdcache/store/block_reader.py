"""The arrays of a cache by block and augmentation seed, straight from its objects.

It does not ask whether a unit is committed: that is the business of who calls it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.arrays import ArraySpec, grown_document, index_bytes
from kdcache.store.chunks import decode_chunk, decode_index, decode_texts
from kdcache.store.documents import ARRAY_LIMIT, read_document
from kdcache.store.head import Planes
from kdcache.store.layout import Layout
from kdcache.store.objects import ObjectStore
from kdcache.store.read_once import ReadOnce
from kdcache.store.spool import Spool
from kdcache.store.tables import SampleTable

__all__ = ["BlockReader"]

_USUAL_TABLE = 1 << 20
_INDEXES_KEPT = 256

_log = logging.getLogger(__name__)

T = TypeVar("T")


class BlockReader:
    """Reads one chunk at a time; keeps the indexes of the objects read last in memory, and nothing that grows.

    With a spool, all indexes and samples that were read are kept there: no request is made for them twice. What is
    damaged is read once more, because a network may have damaged it. Threads may share a reader.
    """

    def __init__(self, objects: ObjectStore, layout: Layout, spool: Spool | None = None) -> None:
        self._objects = objects
        self._layout = layout
        self._spool = spool
        self._checked_arrays: set[str] = set()
        self._indexes = ReadOnce(self._read_index, size=_INDEXES_KEPT)

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

        index = path, spec.chunks_per_object, spec.largest_chunk, spec.largest_object

        def read() -> Any:
            start, size = self._indexes(*index)[number]
            return decode_chunk(self._objects.get_range(path, start, size), spec.dtype, spec.chunk)

        return self._read_twice(path, read, forget=lambda: self._indexes.forget(*index))

    def _plain(self, spec: ArraySpec, block: int) -> Any:
        self._check_array(spec)
        path = spec.object_path(block)
        return self._read_twice(path, lambda: decode_chunk(self._whole(spec, path), spec.dtype, spec.chunk))

    def _texts(self, spec: ArraySpec, block: int) -> tuple[str, ...]:
        self._check_array(spec)
        path = spec.object_path(block)
        return self._read_twice(path, lambda: decode_texts(self._whole(spec, path), spec.chunk[0]))

    def _read_twice(
        self, path: str, read: Callable[[], T], *, forget: Callable[[], None] = lambda: None
    ) -> T:
        """Read, and once more from the start if the bytes are damaged."""
        with self._explained(path):
            try:
                return read()
            except CorruptChunkError as error:
                facts = {"object": path, "problem": str(error)}
                _log.warning("damaged bytes are read again", extra=facts)
            forget()
            if self._spool is not None:
                self._spool.drop(path)
            return read()

    def _whole(self, spec: ArraySpec, path: str) -> bytes:
        return self._kept(path, lambda: self._read_whole(spec, path))

    def _read_whole(self, spec: ArraySpec, path: str) -> bytes:
        # One request where asking for the size makes two.
        data = self._objects.get_range(path, 0, _USUAL_TABLE)
        size = len(data) if len(data) < _USUAL_TABLE else self._objects.size(path)
        if size > spec.largest_object:
            raise CorruptChunkError(
                f"it has {size:,} bytes, more than the {spec.largest_object:,} that it can have"
            )
        return data if size == len(data) else self._objects.get_range(path, 0, size)

    def _read_index(
        self, path: str, num_chunks: int, largest_chunk: int, largest_object: int
    ) -> list[list[int]]:
        data = self._kept(path, lambda: self._objects.get_range(path, 0, index_bytes(num_chunks)))
        index = decode_index(data, num_chunks)
        starts, sizes = index[:, 0], index[:, 1]
        is_inside = (starts >= index_bytes(num_chunks)) & (starts <= largest_object)
        if not (is_inside & (sizes <= largest_chunk)).all():
            raise CorruptChunkError("its index points to where no chunk can be")
        index_N2: list[list[int]] = index.tolist()
        return index_N2

    def _kept(self, path: str, read: Callable[[], bytes]) -> bytes:
        """Return bytes from the spool, or read them and keep them there."""
        data = None if self._spool is None else self._spool.get(path)
        if data is None:
            data = read()
            if self._spool is not None:
                self._spool.put(path, data)
        return data

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
