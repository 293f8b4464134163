"""What a reader process does: read raw samples, decode each once, render its views, recognise them."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdcache.config.views import ViewPolicy
from kdcache.data.index import ShardIndex
from kdcache.data.pairs import mix_rows
from kdcache.data.shards import RawSample, ShardReader
from kdcache.digest import sample_digest
from kdcache.errors import BadImageError, ImageTooLargeError, KdcacheError
from kdcache.precompute.plan import Item
from kdcache.runtime.interrupt import Interrupts
from kdcache.runtime.loader_processes import lost_processes_explained, process_settings, received
from kdcache.store.tables import STATUS_OK, STATUS_TOO_LARGE, STATUS_UNDECODABLE, SampleTable
from kdcache.views.decode import decode_for
from kdcache.views.digest import thumbnail, view_digest
from kdcache.views.render import render_views

__all__ = ["ItemReader", "RenderedItem", "lost_readers_explained", "rendered_items"]


@dataclass(frozen=True, slots=True)
class RenderedItem:
    """One item, ready for the teachers.

    Attributes:
        item: what was asked for.
        views_B3HW: uint8, all seeds of the first sample, then of the next; black for bad samples.
        table: the samples: keys, labels, digests, status.
        labels_NG: int32 label of each view; of a mixed one, that of its larger part.
        digests_GN: uint32 view digests, 0 for bad samples.
        thumbnails: uint8 (G, n, 8, 8, 3) of the first n samples, as the item asks.
        complaints: what is wrong with each bad sample.
        seconds: reading, decoding and rendering.
    """

    item: Item
    views_B3HW: Tensor
    table: SampleTable
    labels_NG: NDArray[np.int32]
    digests_GN: NDArray[np.uint32]
    thumbnails: NDArray[np.uint8]
    complaints: tuple[str, ...]
    seconds: float

    def without_views(self) -> Self:
        """Return the same without its pixels, to free their memory."""
        return replace(self, views_B3HW=self.views_B3HW[:0].clone())

    def pin_memory(self) -> Self:
        """Return the same with page-locked views; DataLoader calls this."""
        return replace(self, views_B3HW=self.views_B3HW.pin_memory())


class ItemReader(Dataset["RenderedItem | KdcacheError"]):
    """Reads what an item asks for; an error is returned, not raised, so that it arrives as it is and in order.

    ``indexes`` is by position in the manifest; a shard that no item names may be None. ``alone``: items are of few
    samples here and there, so nothing beside them is read.
    """

    def __init__(
        self,
        indexes: Sequence[ShardIndex | None],
        policy: ViewPolicy,
        *,
        num_classes: int | None,
        alone: bool = False,
    ) -> None:
        self._indexes = indexes
        self._policy = policy
        self._num_classes, self._alone = num_classes, alone
        # One open shard at a time: a thousand shards would need a thousand open files in each process.
        self._open: ShardReader | None = None

    def __getitem__(self, item: Item) -> RenderedItem | KdcacheError:
        """Read and render one item."""
        try:
            return self._render(item)
        except KdcacheError as error:
            return error

    def _render(self, item: Item) -> RenderedItem:
        clock = time.perf_counter()
        reader = self._reader(item.shard)
        samples = [reader.read(number) for number in item.samples]
        canvas = _Canvas.of(item, self._policy)
        for row, sample in enumerate(samples):
            where = f"{reader.index.url}: sample {sample.key!r}"
            try:
                image = decode_for(self._policy, sample.encoded, where=where)
            except BadImageError as error:
                canvas.mark_bad(row, error)
                continue
            canvas.views_NG3HW[row] = render_views(sample.key, image, item.aug_seeds, self._policy)
        table = _table(samples, canvas.status_N)
        labels_NG = np.repeat(table.labels[:, None], len(item.aug_seeds), axis=1)
        if self._policy.mixing is not None:
            for seed, aug_seed in enumerate(item.aug_seeds):
                labels_NG[:, seed] = mix_rows(canvas.views_NG3HW[:, seed], table, aug_seed, self._policy)
        canvas.recognise()
        return RenderedItem(
            item=item,
            views_B3HW=torch.from_numpy(canvas.views_NG3HW).flatten(0, 1),
            table=table,
            labels_NG=labels_NG,
            digests_GN=canvas.digests_GN,
            thumbnails=canvas.thumbnails,
            complaints=tuple(canvas.complaints),
            seconds=time.perf_counter() - clock,
        )

    def _reader(self, shard: int) -> ShardReader:
        index = self._indexes[shard]
        assert index is not None, "a plan names only shards that were given"
        if self._open is None or self._open.index is not index:
            self._open = ShardReader(index, num_classes=self._num_classes, alone=self._alone)
        return self._open


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The arrays of one item while it is being rendered."""

    views_NG3HW: NDArray[np.uint8]
    digests_GN: NDArray[np.uint32]
    thumbnails: NDArray[np.uint8]
    status_N: NDArray[np.uint8]
    complaints: list[str]

    @classmethod
    def of(cls, item: Item, policy: ViewPolicy) -> Self:
        rows, seeds = len(item.samples), len(item.aug_seeds)
        return cls(
            views_NG3HW=np.zeros((rows, seeds, 3, policy.height, policy.width), dtype=np.uint8),
            digests_GN=np.zeros((seeds, rows), dtype=np.uint32),
            thumbnails=np.zeros((seeds, item.thumbnail_rows, 8, 8, 3), dtype=np.uint8),
            status_N=np.full(rows, STATUS_OK, dtype=np.uint8),
            complaints=[],
        )

    def mark_bad(self, row: int, error: BadImageError) -> None:
        is_too_large = isinstance(error, ImageTooLargeError)
        self.status_N[row] = STATUS_TOO_LARGE if is_too_large else STATUS_UNDECODABLE
        self.complaints.append(str(error))

    def recognise(self) -> None:
        """Fill in digests and thumbnails from the good samples' final pixels."""
        for row in np.flatnonzero(self.status_N == STATUS_OK).tolist():
            views_G3HW = self.views_NG3HW[row]
            self.digests_GN[:, row] = [view_digest(view_3HW) for view_3HW in views_G3HW]
            if row < self.thumbnails.shape[1]:
                self.thumbnails[:, row] = [thumbnail(view_3HW) for view_3HW in views_G3HW]


def _table(samples: Sequence[RawSample], status_N: NDArray[np.uint8]) -> SampleTable:
    return SampleTable(
        keys=tuple(sample.key for sample in samples),
        labels=np.array([sample.label for sample in samples], dtype=np.int32),
        digests=np.array([sample_digest(sample.encoded) for sample in samples], dtype=np.uint64),
        status=status_N,
    )


def rendered_items(
    reader: ItemReader, items: Iterable[Item], *, processes: int, pin_memory: bool = False
) -> Iterator[RenderedItem]:
    """Yield every item in order, read by ``processes`` processes (0: here), at most two items each ahead.

    ``items`` is asked for the next one only when a reader is free.

    Raises:
        KdcacheError: what a reader met: a damaged shard, a label out of range.
        ConfigError: readers cannot work with this temporary folder.
    """
    loader = DataLoader(
        reader,
        batch_size=None,
        sampler=items,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=2 if processes else None,
        **process_settings(processes),
    )
    for item in received(loader, processes=processes):
        if isinstance(item, KdcacheError):
            raise item
        yield item


def lost_readers_explained(
    interrupts: Interrupts, standing: Callable[[], str]
) -> contextlib.AbstractContextManager[None]:
    """Turn torch's error about a dead reader into ours.

    Raises:
        InterruptedRunError: a reader process was killed.
    """
    remedy = "use fewer --readers or a smaller --batch-size"
    return lost_processes_explained(interrupts, standing, name="reader", remedy=remedy)


def _as_it_is(item: Any) -> Any:
    return item
