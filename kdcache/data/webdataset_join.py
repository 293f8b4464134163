"""A stage for webdataset pipelines of your own: it joins each sample with a cached view and its targets.

Nothing here imports webdataset: a stage is a callable from samples (dicts with ``__key__``) to samples. It looks
at the image and the label only, and leaves every other member as the bytes that it is: nothing is unpickled.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kdcache.data.committed import Snapshot, committed_seeds
from kdcache.data.damage import demand_values
from kdcache.data.epoch_plan import choose_seed, seed_runs
from kdcache.data.foreign import encoded_image, expand_urls, label_text, refuse_pipe, shard_name
from kdcache.data.join_tally import JoinCounts, JoinTally
from kdcache.data.key_places import KeyPlaces
from kdcache.data.view_check import ViewCheck
from kdcache.digest import sample_digest
from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError, ShardError
from kdcache.store.addresses import public_url
from kdcache.store.reader import Cache, open_cache
from kdcache.views import decode_for, render_views

__all__ = ["CachedJoin", "SeedChoice", "join_cached"]

Sample = dict[str, Any]
SeedChoice = Callable[[str, int, Sequence[int]], Sequence[int]]
"""From (sample key, epoch, committed seeds) to the augmentation seeds of a sample's views."""

_PLANES_KEPT = 16
_FIRST_CHECKED = 64


class CachedJoin:
    """The stage; ``join_cached`` makes it.

    Attributes:
        cache: the cache that is joined.
        snapshot: the augmentation seeds of each block that may be chosen.
        teachers: whose targets the samples get.
    """

    def __init__(
        self,
        cache: Cache,
        places: KeyPlaces,
        snapshot: Snapshot,
        *,
        teachers: Sequence[str],
        choose: Callable[[str, int, int], Sequence[int]],
        skipped: frozenset[str],
        check_views: int,
        allow_decoder_drift: bool,
        allow_pipe: bool,
    ) -> None:
        self.cache, self.snapshot, self.teachers = cache, snapshot, tuple(teachers)
        self._places, self._choose, self._skipped = places, choose, skipped
        self._check_views, self._allow_drift, self._allow_pipe = check_views, allow_decoder_drift, allow_pipe
        # In shared memory, so that loader workers see the epoch that their parent sets.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._tally = JoinTally()
        self._open()

    def _open(self) -> None:
        self._view_check = ViewCheck(self.cache, allow_drift=self._allow_drift)
        self._targets = lru_cache(maxsize=max(1, len(self.teachers)) * _PLANES_KEPT)(self.cache.targets)
        self._seen = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave read blocks behind; a worker reads its own."""
        opened = {"_view_check", "_targets", "_seen"}
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with no block at hand."""
        self.__dict__.update(state)
        self._open()

    @property
    def counts(self) -> JoinCounts:
        """What became of the samples so far, in all loader workers of this process."""
        return self._tally.total()

    def set_epoch(self, epoch: int) -> None:
        """Say which pass the next iteration is: it decides the seeds, also in workers that persist."""
        self._epoch.fill_(epoch)

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield a sample for each view that is chosen of each one that the cache has.

        To what the sample holds come ``image`` (uint8 tensor (3, H, W)), ``label`` (-1 without one),
        ``aug_seed``, and ``targets``: the TopKLogits of one row by teacher.

        Raises:
            MissingViewError: the cache lacks the sample, and such samples are not to be skipped.
            ShardError: a sample has no encoded image, or is a bad one that is not to be skipped.
            ManifestMismatchError: image or label are not those the cache was made from.
            ViewMismatchError: a view is not the one that the teacher saw.
            ConfigError: samples come out of a ``pipe:`` that was not allowed.
        """
        epoch = int(self._epoch)
        for sample in samples:
            place = self._place(sample)
            if place is not None:
                yield from self._views_of(sample, *place, epoch)

    def _place(self, sample: Sample) -> tuple[int, int] | None:
        key, url = sample["__key__"], str(sample.get("__url__", ""))
        refuse_pipe(url, allowed=self._allow_pipe)
        place = self._places.find(shard_name(url), key)
        if place is None or place[0] not in self.snapshot:
            self._leave_out("unknown", self._unknown(public_url(url), key, is_known=place is not None))
            return None
        if not self._places.table(place[0]).ok_N[place[1]]:
            reason = (
                f"{public_url(url)}: sample {key!r} could not be decoded in stage one, so it has no views"
            )
            self._leave_out("bad", ShardError(f"{reason}; take it out, or pass on_bad='skip'"))
            return None
        return place

    def _leave_out(self, what: Literal["unknown", "bad"], error: Exception) -> None:
        if what not in self._skipped:
            raise error
        self._tally.add(what)

    def _unknown(self, url: str, key: str, *, is_known: bool) -> MissingViewError:
        what = "has no committed views of it that may be chosen" if is_known else "does not know it"
        return MissingViewError(
            f"{url}: sample {key!r}: the cache {self.cache.url} {what}; precompute it, pass on_unknown='skip', or, "
            "if the shards were packed anew, leave shards out to find samples by key alone"
        )

    def _views_of(self, sample: Sample, block: int, row: int, epoch: int) -> Iterator[Sample]:
        key, where = sample["__key__"], f"{public_url(str(sample.get('__url__', '')))}: {sample['__key__']}"
        encoded, label = self._verified(sample, block, row, where)
        aug_seeds = self._choose(key, epoch, block)
        policy = self.cache.identity.policy
        views_V3HW = render_views(key, decode_for(policy, encoded, where=where), aug_seeds, policy)
        for view_3HW, aug_seed in zip(views_V3HW, aug_seeds, strict=True):
            self._check(view_3HW, key=key, block=block, row=row, aug_seed=aug_seed, where=where)
            targets = {name: self._targets(name, block, aug_seed).take([row]) for name in self.teachers}
            for name, cut in targets.items():
                demand_values(self.cache, name, cut.valid_N, [(block, row, aug_seed)])
            self._tally.add("joined")
            joined = {"image": torch.from_numpy(view_3HW), "label": label, "aug_seed": aug_seed}
            yield sample | joined | {"targets": targets}

    def _check(self, view_3HW: NDArray[np.uint8], **which: Any) -> None:
        is_due = self._seen < _FIRST_CHECKED or self._seen % self._check_views == 0
        self._seen += 1
        if is_due:
            self._tally.add("checked")
            if self._view_check.check(view_3HW, **which):
                self._tally.add("drifted")

    def _verified(self, sample: Sample, block: int, row: int, where: str) -> tuple[bytes, int]:
        """Return the encoded image and the label; both must be those of the cache."""
        table, encoded = self._places.table(block), encoded_image(sample, where=where)
        if sample_digest(encoded) != int(table.digests[row]):
            raise ManifestMismatchError(self._changed(where, "its image has other bytes than the one in"))
        label, found = int(table.labels[row]), label_text(sample)
        if found is not None and found != str(label):
            raise ManifestMismatchError(self._changed(where, f"its label is {found!r}, not {label} as in"))
        return encoded, label

    def _changed(self, where: str, what: str) -> str:
        return (
            f"{where}: {what} the cache {self.cache.url}; read the shard that the cache was made from, or "
            "precompute a new cache"
        )


class _BlockSeeds:
    """The choice of ``distill_loader``: one run of seeds for a block and epoch, each as often as the others."""

    def __init__(self, snapshot: Snapshot, *, views_per_sample: int, run_seed: int) -> None:
        self._runs = {block: seed_runs(seeds, views_per_sample) for block, seeds in snapshot.items()}
        self._views, self._run_seed = views_per_sample, run_seed

    def __call__(self, key: str, epoch: int, block: int) -> Sequence[int]:
        del key
        first = choose_seed(self._runs[block], run_seed=self._run_seed, epoch=epoch, block=block)
        return range(first, first + self._views)


class _KeySeeds:
    """A choice that the user makes by key and epoch."""

    def __init__(self, snapshot: Snapshot, seeds: SeedChoice) -> None:
        self._snapshot, self._seeds = snapshot, seeds

    def __call__(self, key: str, epoch: int, block: int) -> Sequence[int]:
        chosen = self._seeds(key, epoch, self._snapshot[block])
        strange = set(chosen) - set(self._snapshot[block])
        if strange:
            raise ConfigError(
                f"seeds chose aug_seed {min(strange)} for sample {key!r} in epoch {epoch}; it may choose among "
                f"the {len(self._snapshot[block])} committed seeds that it is given"
            )
        return chosen


def join_cached(
    cache: str | Path | Cache,
    shards: str | Sequence[str] | None = None,
    *,
    teachers: Sequence[str] | None = None,
    views_per_sample: int = 1,
    seeds: SeedChoice | None = None,
    run_seed: int = 0,
    on_unknown: Literal["error", "skip"] = "error",
    on_bad: Literal["error", "skip"] = "skip",
    check_views: int = 64,
    allow_decoder_drift: bool = False,
    allow_pipe: bool = False,
) -> CachedJoin:
    """Return a stage that joins the samples of a webdataset pipeline with cached views and targets.

    Put it where images are still encoded: ``WebDataset(urls).compose(join_cached(cache, urls))``. Teachers and
    the seeds that may be chosen are settled here, so all workers agree.

    Args:
        cache: an open cache, or where it is.
        shards: the patterns that the pipeline reads. Without them, and where the cache knows no shard of a
            name, samples are found by key alone.
        teachers: whose targets are wanted; by default those of every teacher. Empty: views only.
        views_per_sample: so many consecutive seeds of each sample come one after the other, decoded once.
        seeds: a choice of your own, by key and epoch. One that differs between the samples of a block reads
            the targets of all seeds that it chooses there.
        run_seed: orders the seeds; the loader of ``distill_loader`` with an equal one chooses the same.
        on_unknown: what happens to samples that the cache does not have; the skipped ones are counted.
        on_bad: the same for those that could not be decoded in stage one.
        check_views: after the first 64 views of each worker, one in so many is checked by digest.
        allow_decoder_drift: count views that differ by a decoder's rounding instead of stopping at the first.
        allow_pipe: accept ``pipe:`` URLs; webdataset runs them as commands of the shell.

    Raises:
        ConfigError: the policy mixes pairs of samples, a teacher is unknown, a number makes no sense, or a
            ``pipe:`` is not allowed.
        MissingViewError: nothing of these shards is committed yet.
    """
    cache = cache if isinstance(cache, Cache) else open_cache(cache)
    _refuse_mixing(cache)
    if views_per_sample < 1 or check_views < 1:
        raise ConfigError(
            f"views_per_sample is {views_per_sample} and check_views {check_views}; both must be at least 1"
        )
    urls = None if shards is None else expand_urls(shards)
    for url in urls or ():
        refuse_pipe(url, allowed=allow_pipe)
    names = cache.teachers if teachers is None else tuple(teachers)
    _refuse_unknown(names, cache)
    places = KeyPlaces(cache, None if urls is None else [shard_name(url) for url in urls])
    committed = committed_seeds(cache, places.blocks, names)
    snapshot = {block: some for block, some in committed.items() if seed_runs(some, views_per_sample)}
    if not snapshot:
        raise MissingViewError(
            f"the cache {cache.url} holds no finished unit of {views_per_sample} consecutive views of these "
            "shards; run kdcache precompute on them first, or choose fewer views per sample"
        )
    return CachedJoin(
        cache,
        places,
        snapshot,
        teachers=names,
        choose=_KeySeeds(snapshot, seeds)
        if seeds
        else _BlockSeeds(snapshot, views_per_sample=views_per_sample, run_seed=run_seed),
        skipped=frozenset(what for what, how in (("unknown", on_unknown), ("bad", on_bad)) if how == "skip"),
        check_views=check_views,
        allow_decoder_drift=allow_decoder_drift,
        allow_pipe=allow_pipe,
    )


def _refuse_mixing(cache: Cache) -> None:
    if cache.identity.policy.mixing is not None:
        raise ConfigError(
            f"the views of the cache {cache.url} are mixed from pairs of samples, which a pipeline of your own "
            "cannot keep together; use kdcache.distill_loader, or precompute with a policy without mixing"
        )


def _refuse_unknown(teachers: Sequence[str], cache: Cache) -> None:
    unknown = [name for name in teachers if name not in cache.teachers]
    if unknown:
        raise ConfigError(
            f"the cache {cache.url} has no teacher {unknown[0]!r}; it has {', '.join(cache.teachers) or 'none'}"
        )
