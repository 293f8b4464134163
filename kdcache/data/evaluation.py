"""Evaluation: every sample once, in shard order, under one augmentation seed."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from kdcache.config.views import ViewPolicy
from kdcache.data.batch import DistillBatch
from kdcache.data.cached_views import CachedViews
from kdcache.data.committed import Snapshot
from kdcache.data.epoch_plan import MicroBatch
from kdcache.data.index import ShardIndex, expand_shards, index_shards
from kdcache.data.joined import joined_views
from kdcache.data.outcomes import Outcome, demanded, outcome
from kdcache.data.shards import RawSample, ShardReader
from kdcache.errors import BadImageError, ConfigError, MissingViewError
from kdcache.runtime.loader_processes import process_settings, received
from kdcache.store.reader import Cache, open_cache
from kdcache.views import decode_for, render_views

__all__ = ["EvalLoader", "eval_loader"]


class EvalLoader:
    """One pass over some samples, in order; every rank takes every world-th batch.

    Attributes:
        num_samples: samples of the pass, over all ranks.
        policy: the view policy of the images.
        cache: the cache whose targets are joined, if there is one.
    """

    def __init__(
        self,
        batches: Dataset[Outcome],
        numbers: range,
        *,
        num_samples: int,
        policy: ViewPolicy,
        cache: Cache | None,
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        self.num_samples, self.policy, self.cache = num_samples, policy, cache
        self._loader: DataLoader[Any] = DataLoader(
            batches,
            batch_size=None,
            sampler=numbers,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else every pass would move torch's global random state
            **process_settings(num_workers),
        )
        self._numbers = numbers

    def __len__(self) -> int:
        """Return the number of batches of this rank."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[DistillBatch]:
        """Yield the batches; the last one may be smaller, and one without a single good image is left out.

        Raises:
            StoreError: a sample or a view is not the cache's.
            ShardError: a shard or, if that is asked for, an image cannot be read.
        """
        outcomes = received(iter(self._loader), processes=self._loader.num_workers)
        return (batch for batch in demanded(outcomes) if len(batch))


class _CachedBatches(Dataset[Outcome]):
    """Batches of a cache's good samples, under aug_seed 0; a reader takes every ``readers``-th of them."""

    def __init__(
        self, views: CachedViews, places_N2: NDArray[np.int64], batch_size: int, *, readers: int
    ) -> None:
        self._views, self._places_N2, self._size, self._readers = views, places_N2, batch_size, readers

    def __getitem__(self, number: int) -> Outcome:
        blocks = [np.unique(self._part(turn)[:, 0]).tolist() for turn in (number, number + self._readers)]
        self._views.keep_blocks(2 * sum(map(len, blocks)))  # those of the turn before are still at hand
        for later in blocks:
            self._views.read_ahead((block, 0) for block in later)
        part = self._part(number)
        seeds = np.zeros(len(part), dtype=np.int64)
        return outcome(lambda: self._views.batch(MicroBatch(part[:, 0].copy(), part[:, 1].copy(), seeds)))

    def _part(self, number: int) -> NDArray[np.int64]:
        return self._places_N2[number * self._size : (number + 1) * self._size]


class _PlainBatches(Dataset[Outcome]):
    """Batches of whatever is in the shards; bad images are left out or refused."""

    def __init__(
        self,
        indexes: Sequence[ShardIndex],
        policy: ViewPolicy,
        batch_size: int,
        on_bad_sample: Literal["skip", "fail"],
        num_classes: int | None,
    ) -> None:
        self._indexes, self._num_classes = tuple(indexes), num_classes
        self._reader = ShardReader(indexes[0], num_classes=num_classes)
        self._ends = np.cumsum([len(index) for index in indexes])
        self._policy, self._size, self._on_bad_sample = policy, batch_size, on_bad_sample

    def __getitem__(self, number: int) -> Outcome:
        return outcome(lambda: self._batch(number))

    def _batch(self, number: int) -> DistillBatch:
        rows = range(number * self._size, min((number + 1) * self._size, int(self._ends[-1])))
        views = [view for row in rows if (view := self._view(row)) is not None]
        shape = (0, 3, self._policy.height, self._policy.width)
        images = np.stack([image for _, image in views]) if views else np.empty(shape, dtype=np.uint8)
        return DistillBatch(
            images_B3HW=torch.from_numpy(images),
            labels_B=torch.tensor([raw.label for raw, _ in views], dtype=torch.int64),
            teachers={},
            keys=tuple(raw.key for raw, _ in views),
            aug_seeds_B=torch.zeros(len(views), dtype=torch.int64),
        )

    def _view(self, row: int) -> tuple[RawSample, NDArray[np.uint8]] | None:
        shard = int(np.searchsorted(self._ends, row, side="right"))
        reader = self._reader_of(self._indexes[shard])
        raw = reader.read(row - (int(self._ends[shard - 1]) if shard else 0))
        try:
            image = decode_for(self._policy, raw.encoded, where=f"{reader.index.url}: {raw.key}")
        except BadImageError:
            if self._on_bad_sample == "fail":
                raise
            return None
        return raw, render_views(raw.key, image, [0], self._policy)[0]

    def _reader_of(self, index: ShardIndex) -> ShardReader:
        """Keep one shard open at a time; samples come in order."""
        if self._reader.index is not index:
            self._reader = ShardReader(index, num_classes=self._num_classes)
        return self._reader


def eval_loader(
    shards: str | Sequence[str],
    *,
    policy: ViewPolicy | None = None,
    cache: str | Path | Cache | None = None,
    batch_size: int = 256,
    teachers: Sequence[str] | None = None,
    num_workers: int = 0,
    world: int = 1,
    rank: int = 0,
    check_views: int = 64,
    on_bad_sample: Literal["skip", "fail"] = "skip",
    num_classes: int | None = None,
    allow_decoder_drift: bool = False,
    pin_memory: bool = False,
) -> EvalLoader:
    """Return a loader for evaluation.

    Give ``policy`` to see the images under it, or ``cache`` to see the cache's own views (aug_seed 0) with
    its teachers' targets.

    Raises:
        ConfigError: none or both of them are given, the policy mixes samples, or a number makes no sense.
        ShardError: a shard is broken, or a label is no class.
        ManifestMismatchError: the shards are not those of the cache.
        MissingViewError: the cache does not hold all of these shards under aug_seed 0.
    """
    if (policy is None) == (cache is None):
        raise ConfigError(
            "evaluation needs a view policy or a cache (whose policy is then used), and not both"
        )
    if batch_size < 1 or not 0 <= rank < world:
        raise ConfigError(
            f"evaluation in batches of {batch_size} on rank {rank} of {world}: expected batches of at least 1 and "
            "ranks counted from 0"
        )
    patterns = [shards] if isinstance(shards, str) else shards
    if cache is None:
        assert policy is not None
        _refuse_mixing(policy, "the view policy")
        indexes = index_shards(expand_shards(patterns))
        num_samples = sum(len(index) for index in indexes)
        batches: Dataset[Outcome] = _PlainBatches(indexes, policy, batch_size, on_bad_sample, num_classes)
        opened = None
    else:
        opened = cache if isinstance(cache, Cache) else open_cache(cache)
        policy = opened.identity.policy
        _refuse_mixing(policy, f"the cache {opened.url}")
        views, seeds = joined_views(
            patterns,
            opened,
            teachers=teachers,
            check_views=check_views,
            allow_decoder_drift=allow_decoder_drift,
        )
        _demand_all(views, seeds, opened)
        places = [(block, row) for block in seeds for row in views.cells(block, 0).main[:, 0].tolist()]
        num_samples = len(places)
        places_N2 = np.array(places, dtype=np.int64).reshape(-1, 2)
        batches = _CachedBatches(views, places_N2, batch_size, readers=world * max(1, num_workers))
    numbers = range(rank, math.ceil(num_samples / batch_size), world)
    return EvalLoader(
        batches,
        numbers,
        num_samples=num_samples,
        policy=policy,
        cache=opened,
        num_workers=num_workers,
        pin_memory=pin_memory,
    )


def _refuse_mixing(policy: ViewPolicy, whose: str) -> None:
    if policy.mixing is not None:
        raise ConfigError(f"{whose} mixes samples; evaluate on unmixed views, as those of policy center")


def _demand_all(views: CachedViews, seeds: Snapshot, cache: Cache) -> None:
    """An evaluation of a part would look like one of the whole."""
    missing = [block for block in views.blocks if 0 not in seeds.get(block, ())]
    if missing:
        block = cache.blocks[missing[0]]
        raise MissingViewError(
            f"the cache {cache.url} lacks aug_seed 0 of {len(missing)} of the {len(views.blocks)} blocks of these "
            f"shards, the first is block {block.index} of {cache.identity.shards[block.shard].name}; finish kdcache "
            "precompute, then evaluate"
        )
