"""Showing some cached views to their teacher again: are the stored targets what it says?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from kdcache.config.precompute import TeacherConfig
from kdcache.data.agreement import AgreementReport, agreement
from kdcache.data.cached_samples import CachedSamples
from kdcache.data.committed import committed_seeds
from kdcache.data.recheck import joined_samples, rendered_looks
from kdcache.data.sampling import Look, looks_at, num_views
from kdcache.data.view_check import ViewCheck
from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError
from kdcache.precompute.as_cached import as_cached
from kdcache.precompute.batches import teacher_logits
from kdcache.runtime.device import resolve_device
from kdcache.runtime.progress import make_progress
from kdcache.store.manifest import TeacherIdentity
from kdcache.store.reader import Cache
from kdcache.teachers.build import build_teacher
from kdcache.teachers.protocol import Teacher

__all__ = ["recompute"]

_DEFAULT_BATCH = 64


@dataclass(frozen=True, slots=True)
class _Shown:
    """One view that has been found to be the cached one."""

    key: str
    block: int
    row: int
    aug_seed: int
    view_3HW: NDArray[np.uint8]


def recompute(
    shards: str | Sequence[str],
    cache: Cache,
    config: TeacherConfig,
    *,
    views: int,
    device: str = "auto",
    workers: int | None = None,
    allow_decoder_drift: bool = False,
    quiet: bool = False,
) -> AgreementReport:
    """Show cached views to their teacher again and compare what it says with the stored targets.

    Args:
        shards: WebDataset patterns of all or some of the cache's shards.
        cache: the cache.
        config: where the teacher is; its preprocessing and precision are the cache's.
        views: how many, evenly spread over the cache.
        device: where the teacher computes.
        workers: threads that decode and render; by default one per core.
        allow_decoder_drift: go on with views that a decoder rounds differently here.
        quiet: show no progress.

    Raises:
        ConfigError: the teacher or the device cannot be had, or the cache has no such teacher.
        TeacherError: its weights cannot be loaded.
        ManifestMismatchError: it is not the cache's teacher, or says something else now.
        ViewMismatchError: a view is not the one that the teacher saw.
        MissingViewError: none of its targets are committed.
    """
    name = _cached_name(config, cache)
    entry = cache.identity.teachers[name]
    samples, rendered = joined_samples(shards, cache)
    seeds = committed_seeds(cache, list(rendered), (name,))
    if not seeds:
        raise MissingViewError(
            f"the cache {cache.url} holds no targets of teacher {name!r} for these shards yet; run kdcache "
            "precompute on them first"
        )
    teacher = build_teacher(as_cached(config, name, entry), device=resolve_device(device))
    _demand_same(teacher, entry, cache)
    report = AgreementReport(name, entry.encoding)
    looks = looks_at(samples, seeds, views)
    shown = _shown(samples, looks, ViewCheck(cache, allow_drift=allow_decoder_drift), report, workers=workers)
    total = min(views, num_views(samples, seeds))
    with make_progress("recompute", total=total, unit="views", quiet=quiet) as progress:
        for batch in _batches(shown, _batch_size(cache, name)):
            views_B3HW = torch.from_numpy(np.stack([one.view_3HW for one in batch]))
            logits_BC = teacher_logits(teacher, views_B3HW, batch_size=len(batch)).cpu().double().numpy()
            for one, logits_C in zip(batch, logits_BC, strict=True):
                stored = cache.targets(name, one.block, one.aug_seed).take([one.row])
                found = agreement(logits_C, stored, entry)
                report.add(found, f"{one.key!r} under aug_seed {one.aug_seed}")
            progress.advance(len(batch))
    report.demand_agreement(cache.url)
    return report


def _shown(
    samples: CachedSamples,
    looks: Iterable[Look],
    check: ViewCheck,
    report: AgreementReport,
    *,
    workers: int | None,
) -> Iterator[_Shown]:
    """Render views and make sure that the teacher saw them."""
    for look, raws, cell in rendered_looks(samples, looks, workers=workers):
        for i, (row, raw) in enumerate(zip(look.rows, raws, strict=True)):
            for j, aug_seed in enumerate(look.aug_seeds):
                assert cell is not None
                one = _Shown(raw.key, look.block, row, aug_seed, cell.views_NS3HW[i, j])
                report.drifted += check.check(
                    one.view_3HW,
                    key=raw.key,
                    block=look.block,
                    row=row,
                    aug_seed=aug_seed,
                    where=samples.where(look.block, row),
                )
                yield one


def _batches(shown: Iterator[_Shown], size: int) -> Iterator[list[_Shown]]:
    while batch := list(islice(shown, size)):
        yield batch


def _batch_size(cache: Cache, name: str) -> int:
    """Return the batch size of stage one: then the arithmetic is nearest to what it was."""
    value = cache.manifest.about.teachers.get(name, {}).get("batch_size")
    return value if isinstance(value, int) and 0 < value <= 4096 else _DEFAULT_BATCH


def _cached_name(config: TeacherConfig, cache: Cache) -> str:
    if config.cache_name in cache.teachers:
        return config.cache_name
    if config.name is None and len(cache.teachers) == 1:
        return cache.teachers[0]
    raise ConfigError(
        f"the cache {cache.url} has no teacher {config.cache_name!r}, but {', '.join(cache.teachers) or 'none'}; "
        "say which one it is: --teacher NAME=MODEL"
    )


def _demand_same(teacher: Teacher, entry: TeacherIdentity, cache: Cache) -> None:
    if teacher.weights_sha256 != entry.weights_sha256:
        raise ManifestMismatchError(
            f"teacher {teacher.name!r} ({teacher.source}) has weights sha256 {teacher.weights_sha256[:16]}, the cache "
            f"{cache.url} was made with {entry.weights_sha256[:16]} of {entry.architecture}; give the weights that "
            "it was made with (--teacher, --teacher-checkpoint)"
        )
    if teacher.class_map_sha256 != entry.class_map_sha256:
        raise ManifestMismatchError(
            f"teacher {teacher.name!r} has class map {(teacher.class_map_sha256 or 'none')[:16]}, the cache "
            f"{cache.url} was made with {(entry.class_map_sha256 or 'none')[:16]}; give the map that it was made with"
        )
    if teacher.num_classes != entry.num_classes:
        raise ManifestMismatchError(
            f"teacher {teacher.name!r} gives {teacher.num_classes} classes, the cache {cache.url} has "
            f"{entry.num_classes} of it; give the network that the cache was made with"
        )
