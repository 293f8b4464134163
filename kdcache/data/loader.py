"""Loaders: batches of views in an order that no number of workers or ranks changes."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kdcache.data.batch import DistillBatch
from kdcache.data.cached_views import CachedViews
from kdcache.data.committed import Snapshot
from kdcache.data.epoch_plan import (
    DEFAULT_LANES,
    DEFAULT_SHUFFLE_WINDOW,
    EpochPlan,
    PlanSettings,
)
from kdcache.data.joined import joined_views
from kdcache.data.outcomes import Outcome, demanded, outcome
from kdcache.errors import ConfigError
from kdcache.runtime.loader_processes import process_settings, received
from kdcache.store.reader import Cache, open_cache

__all__ = ["DistillLoader", "distill_loader"]

_BATCHES_AHEAD = 4
"""So many micro-batches before a worker needs targets, they are asked for, where reading takes time."""


class _Turns:
    """The sampler: which micro-batches this rank takes, in order."""

    def __init__(self) -> None:
        self.epoch, self.numbers = 0, range(0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Not a list: a worker, which is a fork, would be left with all of it.
        return zip(repeat(self.epoch), self.numbers, strict=False)

    def __len__(self) -> int:
        return len(self.numbers)


class _Batches(Dataset[Outcome]):
    """Item (epoch, number) is a whole micro-batch, so that torch's DataLoader keeps their order."""

    def __init__(
        self,
        views: CachedViews,
        seeds: Snapshot,
        settings: PlanSettings,
        *,
        world: int,
        rank: int,
        num_workers: int,
    ) -> None:
        self._views, self._seeds, self._settings = views, seeds, settings
        self._world, self._rank = world, rank
        self._readers = world * max(1, num_workers)
        self._plans: OrderedDict[int, EpochPlan] = OrderedDict()
        self._asked: set[tuple[int, int]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave plans behind: a worker makes its own."""
        return self.__dict__ | {"_plans": OrderedDict()}

    def __getitem__(self, place: tuple[int, int]) -> Outcome:
        epoch, number = place
        return outcome(lambda: self._batch(epoch, number))

    def _batch(self, epoch: int, number: int) -> DistillBatch:
        if self._views.is_remote:
            self._read_ahead(epoch, number)
        return self._views.batch(self.plan(epoch).batch(number))

    def plan(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch; those of this one and the one before are kept."""
        if epoch not in self._plans:
            plan = EpochPlan(self._seeds, self._views, self._settings, epoch=epoch)
            self._plans[epoch] = plan
            self._views.fit_windows(plan.blocks_open(self._world))
            blocks = plan.blocks_open(self._readers, reads_ahead=self._views.is_remote)
            self._views.keep_blocks(blocks, seeds=self._settings.views_per_decode)
        while len(self._plans) > 2:
            self._plans.popitem(last=False)
        return self._plans[epoch]

    def _read_ahead(self, epoch: int, number: int) -> None:
        turns = list(self._turns_ahead(epoch, number))
        self._views.read_ahead(unit for some, turn in turns for unit in self.plan(some).units(turn))
        if self._views.has_remote_shards:
            new = [self.plan(some).batch(turn) for some, turn in turns if (some, turn) not in self._asked]
            self._asked = set(turns)
            self._views.read_samples_ahead(self._blocks_later(epoch, number), new)

    def _blocks_later(self, epoch: int, number: int) -> list[int]:
        """Return the blocks of the window that follows the one of a micro-batch in its lane."""
        plan, settings = self.plan(epoch), self._settings
        later = number + plan.num_lanes * max(
            1, settings.shuffle_window * settings.views_per_decode // settings.batch_size
        )
        if later >= plan.num_batches:
            plan, later = self.plan(epoch + 1), number % plan.num_lanes
        return list(dict.fromkeys(block for block, _ in plan.units(later)))

    def _turns_ahead(self, epoch: int, number: int) -> Iterator[tuple[int, int]]:
        """Yield (epoch, number) of this reader's micro-batch and of its next ones, in the next epoch, too."""
        for _ in range(1 + _BATCHES_AHEAD):
            yield epoch, number
            plan = self.plan(epoch)
            number += self._readers
            if number >= plan.batches_per_rank(self._world) * self._world:
                worker = get_worker_info()
                epoch, number = epoch + 1, self._rank + (worker.id if worker else 0) * self._world


class DistillLoader:
    """Batches of a cache's views, epoch by epoch.

    Attributes:
        cache: the cache that is joined.
        num_samples: samples of one pass, over all ranks.
        num_batches: micro-batches of one pass, of one rank.
        num_aug_seeds: views of each sample that may be drawn.
    """

    def __init__(
        self,
        views: CachedViews,
        seeds: Snapshot,
        settings: PlanSettings,
        *,
        world: int,
        rank: int,
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        self.cache = views.cache
        self.num_samples = views.num_samples
        self.snapshot = seeds
        self._world, self._rank = world, rank
        self._batches = _Batches(views, seeds, settings, world=world, rank=rank, num_workers=num_workers)
        self._turns = _Turns()
        self._loader: DataLoader[Any] = DataLoader(
            self._batches,
            batch_size=None,
            sampler=self._turns,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # else every pass would move torch's global random state
            **process_settings(num_workers),
        )
        self.num_batches = self.plan(0).batches_per_rank(world)
        if self.num_batches == 0:
            raise ConfigError(
                f"{self.num_samples} samples do not fill one micro-batch of {settings.batch_size} on each of {world} "
                "ranks: choose a smaller batch size, or fewer ranks"
            )

    @property
    def num_aug_seeds(self) -> int:
        """Views of each sample that are committed: of the block that has the fewest."""
        return min(len(seeds) for seeds in self.snapshot.values())

    def plan(self, epoch: int) -> EpochPlan:
        """Return the order of an epoch over all ranks."""
        return self._batches.plan(epoch)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[DistillBatch]:
        """Yield this rank's micro-batches of an epoch from number ``start`` on.

        One epoch at a time: with workers, a second one ends the first.

        Raises:
            ManifestMismatchError: a sample is not the one that the cache was made from.
            ViewMismatchError: a view is not the one that the teacher saw.
            ShardError: a shard or an image cannot be read any more.
            StoreError: the cache cannot.
        """
        steps = self.plan(epoch).batches_per_rank(self._world)
        self._turns.epoch = epoch
        self._turns.numbers = range(self._rank + start * self._world, steps * self._world, self._world)
        return demanded(received(iter(self._loader), processes=self._loader.num_workers))


def distill_loader(
    shards: str | Sequence[str],
    *,
    cache: str | Path | Cache,
    batch_size: int,
    teachers: Sequence[str] | None = None,
    with_targets: bool = True,
    features: Sequence[str] = (),
    run_seed: int = 0,
    num_workers: int = 0,
    world: int = 1,
    rank: int = 0,
    check_views: int = 64,
    views_per_decode: int = 1,
    lanes: int = DEFAULT_LANES,
    shuffle_window: int = DEFAULT_SHUFFLE_WINDOW,
    pin_memory: bool = False,
    snapshot: Mapping[int, Sequence[int]] | None = None,
    allow_decoder_drift: bool = False,
) -> DistillLoader:
    """Return a loader that streams shards and joins each view with its cached targets.

    Args:
        shards: WebDataset patterns of all or some of the cache's shards.
        cache: an open cache, or where it is.
        batch_size: views of one micro-batch.
        teachers: whose targets are wanted; by default those of every teacher.
        with_targets: False reads no targets at all: the same views, for a baseline.
        features: the teachers whose cached embeddings are wanted as well.
        run_seed: orders samples and augmentation seeds.
        num_workers: loader processes; it changes nothing but the speed.
        world: how many ranks share the pass.
        rank: which of them this is.
        check_views: besides each worker's whole first batch, one view in so many is checked by digest.
        views_per_decode: 1, 2 or 4 consecutive seeds of each sample come together, decoded once; a pass is then
            that many times as long.
        lanes: at most so many shuffle windows are open at a time, over all ranks and workers.
        shuffle_window: how many samples are shuffled among each other, at least.
        pin_memory: whether batches are put into page-locked memory.
        snapshot: the augmentation seeds to use of each block, as ``loader.snapshot`` gave them.
        allow_decoder_drift: count views that differ by a decoder's rounding instead of stopping at the first.

    Raises:
        ConfigError: no shard matches, a teacher is unknown, the data do not fill one micro-batch, or a number
            makes no sense.
        ShardError: a shard is broken.
        ManifestMismatchError: the shards are not those of the cache.
        MissingViewError: nothing of these shards is committed yet.
    """
    if views_per_decode not in {1, 2, 4}:
        raise ConfigError(f"views_per_decode is {views_per_decode}, expected 1, 2 or 4")
    if not 0 <= rank < world:
        raise ConfigError(f"rank is {rank} in a world of {world}, expected 0 to {world - 1}")
    _demand_at_least_one(
        batch_size=batch_size, check_views=check_views, lanes=lanes, shuffle_window=shuffle_window
    )
    cache = cache if isinstance(cache, Cache) else open_cache(cache)
    views, seeds = joined_views(
        [shards] if isinstance(shards, str) else shards,
        cache,
        teachers=teachers if with_targets else (),
        features=features,
        check_views=check_views,
        views_per_decode=views_per_decode,
        snapshot=snapshot,
        allow_decoder_drift=allow_decoder_drift,
    )
    settings = PlanSettings(
        run_seed,
        batch_size,
        lanes=lanes,
        shuffle_window=shuffle_window,
        views_per_decode=views_per_decode,
    )
    return DistillLoader(
        views, seeds, settings, world=world, rank=rank, num_workers=num_workers, pin_memory=pin_memory
    )


def _demand_at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} is {number}, expected at least 1")
