"""The views of a cache, rendered again from the shards and joined with their targets."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdcache.data.batch import DistillBatch
from kdcache.data.cached_samples import CachedSamples
from kdcache.data.cells import Cells
from kdcache.data.damage import damaged_unit, demand_values
from kdcache.data.epoch_plan import MicroBatch
from kdcache.data.gather import gather_features, gather_targets
from kdcache.data.index import ShardIndex
from kdcache.data.join import BlockSource
from kdcache.data.pairs import partners_of
from kdcache.data.read_ahead import ReadAhead
from kdcache.data.shards import RawSample
from kdcache.data.view_check import ViewCheck
from kdcache.logits import TopKLogits
from kdcache.losses.targets import TeacherTargets
from kdcache.store.layout import Unit
from kdcache.store.read_once import ReadOnce
from kdcache.store.reader import Cache
from kdcache.views import decode_for, render_views
from kdcache.views.mix import ONE, MixParams, mix_pair, mix_params

__all__ = ["CachedViews"]

_Place = tuple[int, int, int]


class CachedViews:
    """Makes batches out of places in a cache; one lives in each loader worker.

    It is also the cell source of the cache's epoch plan. Blocks that were used last stay at hand: their
    samples, digests and decoded targets.
    """

    def __init__(
        self,
        cache: Cache,
        indexes: Sequence[ShardIndex],
        sources: Mapping[int, BlockSource],
        usable: Mapping[int, int],
        *,
        teachers: Sequence[str],
        check_views: int,
        features: Sequence[str] = (),
        allow_decoder_drift: bool = False,
        blocks_kept: int = 4,
    ) -> None:
        self.cache, self.teachers, self.features = cache, tuple(teachers), tuple(features)
        self._indexes, self._sources, self._usable = tuple(indexes), dict(sources), dict(usable)
        self._check_views, self._blocks_kept = check_views, blocks_kept
        self._allow_drift = allow_decoder_drift
        self._policy = cache.identity.policy
        self._open()

    def _open(self) -> None:
        self._view_check = ViewCheck(self.cache, every=self._check_views, allow_drift=self._allow_drift)
        self._samples = CachedSamples(
            self.cache, self._indexes, self._sources, blocks_kept=2 * self._blocks_kept
        )
        self._targets = ReadOnce(self.cache.targets, size=len(self.teachers) * self._blocks_kept)
        self._features = ReadOnce(self.cache.features, size=len(self.features) * self._blocks_kept)
        self._ahead = ReadAhead()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files and read blocks behind; a worker opens its own."""
        opened = {"_view_check", "_samples", "_targets", "_features", "_ahead"}
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the shards anew."""
        self.__dict__.update(state)
        self._open()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that the given shards hold, finished or not."""
        return tuple(self._sources)

    def keep_blocks(self, count: int, *, seeds: int = 1) -> None:
        """Keep the samples of at least so many blocks at hand, and their targets under so many seeds."""
        self._samples.keep_blocks(count)
        self._view_check.keep_units(seeds * count)
        self._targets.grow(len(self.teachers) * seeds * count)
        self._features.grow(len(self.features) * seeds * count)

    @property
    def is_remote(self) -> bool:
        """Whether reading cache or shards takes time."""
        return self.cache.is_remote or self.has_remote_shards

    @property
    def has_remote_shards(self) -> bool:
        """Whether reading samples takes time."""
        return self._samples.are_remote

    def fit_windows(self, blocks_open: int) -> None:
        """Say how many blocks are read in random order at a time, so that reading shards can be fitted to it."""
        self._samples.fit_windows(blocks_open)

    def read_samples_ahead(self, later: Iterable[int], micro_batches: Iterable[MicroBatch]) -> None:
        """Have blocks that are needed later read by other threads, or just what these micro-batches need."""
        self._samples.read_ahead(later, later=True)
        for micro_batch in micro_batches:
            places = dict.fromkeys((block, row) for block, row, _ in micro_batch.views_B3.tolist())
            self._samples.read_rows_ahead(list(places))

    def read_ahead(self, units: Iterable[tuple[int, int]]) -> None:
        """Have all that belongs to these (block, aug_seed) read by other threads, from where reading takes time."""
        units = list(units)
        if self._samples.are_remote:
            self._samples.read_ahead(dict.fromkeys(block for block, _ in units))
        if not self.cache.is_remote:
            return
        for block, aug_seed in units:
            self._ahead.ask(self._samples.tables, block)
            for name in self.teachers:
                self._ahead.ask(self._targets, name, block, aug_seed)
            for name in self.features:
                self._ahead.ask(self._features, name, block, aug_seed)
            self._ahead.ask(self._view_check.digests, block, aug_seed)

    @property
    def num_samples(self) -> int:
        """How many samples can be trained on."""
        return sum(self._usable.values())

    @property
    def cell_size(self) -> int:
        """Two under a mixing policy: pairs stay together."""
        return self._samples.cell_size

    def counts(self, block: int, aug_seed: int) -> tuple[int, int]:
        """Return how many (main cells, singles) a block has; its samples are read only where some are bad."""
        usable = self._usable[block]
        if self.cell_size == 1:
            return usable, 0
        if usable == self._sources[block].block.num_rows:
            return usable // 2, usable % 2
        cells = self.cells(block, aug_seed)
        return len(cells.main), len(cells.singles)

    def cells(self, block: int, aug_seed: int) -> Cells:
        """Return the rows of a block that are to be trained on.

        Raises:
            CorruptChunkError: they are not as many as the block's commit record says.
        """
        cells = self._samples.cells(block, aug_seed)
        found = cells.main.size + cells.singles.size
        if found != self._usable[block]:
            raise damaged_unit(
                self.cache,
                Unit.samples(block),
                f"the block has {found} good samples, its commit record says {self._usable[block]}",
            )
        return cells

    def batch(self, micro_batch: MicroBatch) -> DistillBatch:
        """Render the views of a micro-batch and join them with labels and targets.

        Raises:
            ManifestMismatchError: an image or a label is not the one the cache was made from.
            ViewMismatchError: a rendered view is not the one the teacher saw.
            BadImageError: an image that could be decoded in stage one cannot be decoded now.
        """
        places = [(block, row, seed) for block, row, seed in micro_batch.views_B3.tolist()]
        images = np.empty((len(places), 3, self._policy.height, self._policy.width), dtype=np.uint8)
        raws = self._render(places, images)
        labels_B = torch.tensor([raw.label for raw in raws], dtype=torch.int64)
        mixed = self._mix(images, places, labels_B) if self.cell_size == 2 else {}
        due = self._view_check.due(len(places))
        num_drifted = sum(self._check(images[i], raws[i].key, places[i]) for i in due)
        return DistillBatch(
            images_B3HW=torch.from_numpy(images),
            labels_B=labels_B,
            teachers={name: self._gathered(name, micro_batch) for name in self.teachers},
            keys=tuple(raw.key for raw in raws),
            aug_seeds_B=torch.from_numpy(micro_batch.aug_seeds_B),
            num_checked=len(due),
            num_drifted=num_drifted,
            features={name: self._gathered_features(name, micro_batch) for name in self.features},
            **mixed,
        )

    def _render(self, places: Sequence[_Place], images: NDArray[np.uint8]) -> list[RawSample]:
        """Fill ``images``, decoding once what stands together; return the sample of each.

        All samples are read and looked up before the first is decoded: pixels wash everything else out of the CPU's
        caches, and a lookup that stands between two of them takes several times as long.
        """
        runs = [(place, [seed for *_, seed in run]) for place, run in groupby(places, key=lambda p: p[:2])]
        found = [(self._samples.read(*place), self._samples.where(*place)) for place, _ in runs]
        raws: list[RawSample] = []
        for (_, aug_seeds), (raw, where) in zip(runs, found, strict=True):
            image = decode_for(self._policy, raw.encoded, where=where)
            views = images[len(raws) : len(raws) + len(aug_seeds)]
            render_views(raw.key, image, aug_seeds, self._policy, out=views)
            raws += [raw] * len(aug_seeds)
        return raws

    def _mix(
        self, images: NDArray[np.uint8], places: Sequence[_Place], labels_B: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Mix the pairs of a micro-batch in place; return the weights of the labels."""
        lam_B = torch.ones(len(places))
        partner_labels_B = torch.full((len(places),), -1, dtype=torch.int64)
        numbers = {place: i for i, place in enumerate(places)}
        partners_of_unit = {
            (block, aug_seed): partners_of(self._samples.table(block), aug_seed)
            for block, aug_seed in {(block, aug_seed) for block, _, aug_seed in places}
        }
        for i, (block, row, aug_seed) in enumerate(places):
            partner = int(partners_of_unit[block, aug_seed][row])
            if partner <= row:
                continue
            j = numbers[block, partner, aug_seed]
            params: MixParams = mix_params(self._samples.table(block).keys[row], aug_seed, self._policy)
            if params.lam_q != ONE:
                mix_pair(images[i], images[j], params)
                lam_B[[i, j]] = params.lam
                partner_labels_B[i], partner_labels_B[j] = labels_B[j], labels_B[i]
        return {"lam_B": lam_B, "partner_labels_B": partner_labels_B}

    def _check(self, view_3HW: NDArray[np.uint8], key: str, place: _Place) -> bool:
        block, row, aug_seed = place
        where = self._samples.where(block, row)
        return self._view_check.check(view_3HW, key=key, block=block, row=row, aug_seed=aug_seed, where=where)

    def _gathered(self, teacher: str, micro_batch: MicroBatch) -> TeacherTargets:
        def read(block: int, aug_seed: int) -> TopKLogits:
            return self._targets(teacher, block, aug_seed)

        cut = gather_targets(read, micro_batch)
        demand_values(self.cache, teacher, cut.valid_N, micro_batch.views_B3)
        return TeacherTargets.from_numpy(cut)

    def _gathered_features(self, teacher: str, micro_batch: MicroBatch) -> torch.Tensor:
        def read(block: int, aug_seed: int) -> NDArray[np.float16]:
            return self._features(teacher, block, aug_seed)

        features_BD = gather_features(read, micro_batch)
        kind = self.cache.feature_units[teacher]
        demand_values(self.cache, kind, ~np.isnan(features_BD[:, 0]), micro_batch.views_B3)
        return torch.from_numpy(features_BD)
