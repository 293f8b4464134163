"""Rendering a cache's views again from its shards, without a teacher, and comparing them."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from kdcache.config.views import ViewPolicy
from kdcache.data.cached_samples import CachedSamples
from kdcache.data.cell_views import CellViews, render_cell
from kdcache.data.committed import Snapshot, committed_seeds
from kdcache.data.index import expand_shards, index_shards
from kdcache.data.join import join_shards
from kdcache.data.sampling import Look, looks_at, num_views
from kdcache.data.shards import RawSample
from kdcache.data.view_check import ViewCheck
from kdcache.errors import ConfigError, MissingViewError, ViewMismatchError
from kdcache.runtime.progress import make_progress
from kdcache.store.reader import Cache
from kdcache.views import decode_for
from kdcache.views.fingerprint import decoder_fingerprint

__all__ = ["LEAST_VIEWS", "RecheckReport", "joined_samples", "recheck", "rendered_looks"]

_FEW = 16
LEAST_VIEWS = 64
"""A sample of fewer views would say little; a cache that has fewer is looked at whole."""


@dataclass(slots=True)
class RecheckReport:
    """What was rendered again.

    Attributes:
        views: views compared with their digests.
        all_views: committed views of the given shards.
        samples: samples whose bytes and labels were compared; one that was read twice counts twice.
        drifted: views that differ by a decoder's rounding; all others are equal.
        first_drifted: sample and seed of the first of them.
        decoder: versions and probes that are not the same here, as (in the cache, here).
    """

    all_views: int
    views: int = 0
    samples: int = 0
    drifted: int = 0
    first_drifted: str = ""
    decoder: dict[str, tuple[str, str]] = field(default_factory=dict)

    def summary(self) -> str:
        """Return the report in a few words."""
        same = "all equal" if not self.drifted else f"{self.views - self.drifted:,} equal"
        lines = [
            f"{self.views:,} of {self.all_views:,} views rendered again from {self.samples:,} decoded samples: {same}"
        ]
        if self.drifted:
            lines.append(
                f"{self.drifted:,} views differ by a decoder's rounding, the first is {self.first_drifted}"
            )
        lines.append(f"decoder: {self._decoder()}")
        return "\n".join(lines)

    def demand_no_drift(self) -> None:
        """Refuse views that a decoder rounds differently here.

        Raises:
            ViewMismatchError: there are some.
        """
        if self.drifted:
            raise ViewMismatchError(
                f"{self.drifted:,} of {self.views:,} views differ from the cache by a decoder's rounding, the first "
                f"is {self.first_drifted}; they are the same views otherwise. Decoder: {self._decoder()}. Use "
                "the library versions that the cache was made with, or accept it with --allow-decoder-drift"
            )

    def _decoder(self) -> str:
        if not self.decoder:
            return "the same as the cache's"
        return ", ".join(
            f"{name} {there} in the cache, {here} here" for name, (there, here) in self.decoder.items()
        )


def recheck(
    shards: str | Sequence[str],
    cache: Cache,
    *,
    fraction: float | None = 0.01,
    allow_decoder_drift: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> RecheckReport:
    """Render views again and compare sample digests, labels and view digests with the cache's.

    Args:
        shards: WebDataset patterns of all or some of the cache's shards.
        cache: the cache.
        fraction: share of the views, but at least ``LEAST_VIEWS``; None renders all of them.
        allow_decoder_drift: report views that a decoder rounds differently instead of refusing them.
        workers: threads that decode and render; by default one per core.
        quiet: show no progress.

    Raises:
        ConfigError: ``fraction`` is not in (0, 1].
        ManifestMismatchError: a sample or a label is not the one the cache was made from.
        ViewMismatchError: a view is another one, or views drifted and that is not allowed.
        MissingViewError: nothing of these shards is committed.
        BadImageError: a sample that could be decoded in stage one cannot be decoded here.
    """
    if fraction is not None and not 0.0 < fraction <= 1.0:
        raise ConfigError(f"--fraction is {fraction:g}, expected a share above 0 and up to 1")
    samples, seeds = joined_samples(shards, cache)
    total = num_views(samples, seeds)
    wanted = total if fraction is None else max(LEAST_VIEWS, round(fraction * total))
    if wanted * _FEW < sum(cache.blocks[block].num_rows for block in seeds):
        samples.read_alone()
    looks = looks_at(samples, seeds, wanted)
    report = RecheckReport(all_views=total, decoder=_differences(cache.manifest.about.decoder))
    check = ViewCheck(cache, allow_drift=True)
    with make_progress("render", total=min(wanted, total), unit="views", quiet=quiet) as progress:
        for look, raws, cell in rendered_looks(samples, looks, workers=workers):
            _compare(look, raws, cell, samples=samples, check=check, report=report)
            progress.advance(len(look.rows) * len(look.aug_seeds))
    if not allow_decoder_drift:
        report.demand_no_drift()
    return report


def joined_samples(shards: str | Sequence[str], cache: Cache) -> tuple[CachedSamples, Snapshot]:
    """Return the samples of a cache that some shards hold, and the seeds under which they have views.

    Raises:
        ManifestMismatchError: the shards are not those of the cache.
        MissingViewError: nothing of these shards is committed.
    """
    indexes = index_shards(expand_shards([shards] if isinstance(shards, str) else shards))
    sources = join_shards(indexes, cache)
    seeds = committed_seeds(cache, list(sources), ())
    if not seeds:
        raise MissingViewError(
            f"the cache {cache.url} holds no views of these shards yet; run kdcache precompute on them first"
        )
    return CachedSamples(cache, indexes, sources), seeds


def rendered_looks(
    samples: CachedSamples, looks: Iterable[Look], *, workers: int | None = None
) -> Iterator[tuple[Look, list[RawSample], CellViews | None]]:
    """Yield looks in order with their samples and views (None for a bad sample), rendered by threads.

    Reading and comparing stay in this thread: open caches are not made for several.
    """
    policy = samples.cache.identity.policy
    workers = workers or len(os.sched_getaffinity(0))
    waiting: deque[tuple[Look, list[RawSample], Future[CellViews | None]]] = deque()
    pending = iter(looks)
    with ThreadPoolExecutor(workers, thread_name_prefix="kdcache-render") as pool:
        while True:
            for look in itertools.islice(pending, 4 * workers - len(waiting)):
                raws = [samples.read(look.block, row) for row in look.rows]
                names = [samples.where(look.block, row) for row in look.rows]
                waiting.append((look, raws, pool.submit(_render, look, raws, names, policy)))
            if not waiting:
                return
            look, raws, cell = waiting.popleft()
            yield look, raws, cell.result()


def _render(
    look: Look, raws: Sequence[RawSample], names: Sequence[str], policy: ViewPolicy
) -> CellViews | None:
    if not look.aug_seeds:
        return None
    images = [decode_for(policy, raw.encoded, where=name) for raw, name in zip(raws, names, strict=True)]
    return render_cell([raw.key for raw in raws], images, look.aug_seeds, policy)


def _compare(
    look: Look,
    raws: Sequence[RawSample],
    cell: CellViews | None,
    *,
    samples: CachedSamples,
    check: ViewCheck,
    report: RecheckReport,
) -> None:
    report.samples += len(look.rows)
    for i, (row, raw) in enumerate(zip(look.rows, raws, strict=True)):
        for j, aug_seed in enumerate(look.aug_seeds):
            assert cell is not None
            where = samples.where(look.block, row)
            drifted = check.check(
                cell.views_NS3HW[i, j], key=raw.key, block=look.block, row=row, aug_seed=aug_seed, where=where
            )
            report.views += 1
            report.drifted += drifted
            if drifted and not report.first_drifted:
                report.first_drifted = f"{raw.key!r} under aug_seed {aug_seed}"


def _differences(stored: dict[str, Any]) -> dict[str, tuple[str, str]]:
    here = decoder_fingerprint()
    names = [name for name in {**stored, **here} if stored.get(name) != here.get(name)] if stored else []
    return {name: (str(stored.get(name, "unknown")), here.get(name, "unknown")) for name in names}
