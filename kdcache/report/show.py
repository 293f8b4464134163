"""Choosing samples, rendering their views and asking a cache about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.data.cell_views import render_cell
from kdcache.data.index import expand_shards, index_shards
from kdcache.data.pairs import partners_of
from kdcache.data.recheck import joined_samples
from kdcache.data.shards import RawSample
from kdcache.data.view_check import ViewCheck
from kdcache.errors import BadImageError, ConfigError, MissingViewError
from kdcache.report.class_names import ClassNames
from kdcache.report.shown_samples import Place, Samples, ShardSamples, find_keys, spread_places
from kdcache.report.views_report import ShownSample, ShownView, ViewsReport
from kdcache.store.reader import Cache
from kdcache.store.tables import STATUS_NAMES
from kdcache.views import decode_for, view_digest

__all__ = ["Choice", "show_cached_views", "show_views"]

_NUM_GUESSES = 3
_NUM_SEEDS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """Which samples and views are shown.

    Attributes:
        num_samples: how many samples, evenly spaced over the shards.
        keys: of the samples to show instead.
        aug_seeds: by default the first six, or as many as a cache has.
        class_names: in class order; by default numbers are shown.
    """

    num_samples: int = 6
    keys: tuple[str, ...] = ()
    aug_seeds: tuple[int, ...] | None = None
    class_names: ClassNames | None = None


_DEFAULT = Choice()


def show_views(shards: str | Sequence[str], policy: ViewPolicy, *, choice: Choice = _DEFAULT) -> ViewsReport:
    """Render views of a few samples.

    Raises:
        ConfigError: no shard matches, or no sample has a key.
        BadImageError: a sample that was asked for by key, or every sample, cannot be decoded.
    """
    indexes = index_shards(expand_shards([shards] if isinstance(shards, str) else shards))
    samples = ShardSamples(indexes)
    counts = {block: len(index) for block, index in enumerate(indexes)}
    aug_seeds = choice.aug_seeds or tuple(range(_NUM_SEEDS))
    shown = _chosen(_Renderer(samples, policy), counts, choice, aug_seeds)
    return ViewsReport(policy, aug_seeds, shown, class_names=choice.class_names)


def show_cached_views(
    shards: str | Sequence[str], cache: Cache, *, teacher: str | None = None, choice: Choice = _DEFAULT
) -> ViewsReport:
    """Render views that a cache holds, compare each with its digest, and look up the teacher's best classes.

    Without ``teacher`` it is the cache's first one.

    Raises:
        ConfigError: there is no such teacher, or no sample has a key.
        ManifestMismatchError: the shards are not those of the cache.
        MissingViewError: the cache does not hold these seeds of any block.
    """
    name = _teacher_name(cache, teacher)
    _demand_fitting(choice.class_names, cache, name)
    aug_seeds = choice.aug_seeds or tuple(range(min(_NUM_SEEDS, cache.identity.num_aug_seeds)))
    samples, seeds = joined_samples(shards, cache)
    counts = {
        block: cache.blocks[block].num_rows for block in seeds if _is_cached(cache, name, block, aug_seeds)
    }
    if not counts:
        raise MissingViewError(
            f"no block of {cache.url} has {name or 'views'} under all of the seeds {list(aug_seeds)} yet; it has "
            f"{cache.identity.num_aug_seeds} views of each sample when it is complete: choose other --seeds, or "
            "run the precompute command again"
        )
    renderer = _CachedRenderer(samples, cache, name)
    shown = _chosen(renderer, counts, choice, aug_seeds)
    num_classes = cache.identity.teachers[name].num_classes if name else 0
    return ViewsReport(
        cache.identity.policy, aug_seeds, shown, cache.url, name, num_classes, choice.class_names
    )


class _Renderer:
    """Renders single views, mixed with their partner's where the policy mixes."""

    def __init__(self, samples: Samples, policy: ViewPolicy) -> None:
        self.samples, self._policy = samples, policy
        self._decoded = lru_cache(maxsize=8)(self._decode)

    def sample(self, place: Place, aug_seeds: Sequence[int]) -> ShownSample:
        """Render a sample under some seeds.

        Raises:
            BadImageError: it cannot be decoded.
        """
        raw, _ = self._decoded(place)
        return ShownSample(raw.key, raw.label, tuple(self.view(place, aug_seed) for aug_seed in aug_seeds))

    def view(self, place: Place, aug_seed: int) -> ShownView:
        """Render one view."""
        block, row = place
        rows = sorted({row, self._partner(place, aug_seed)})
        pairs = [self._decoded((block, one)) for one in rows]
        cell = render_cell(
            [raw.key for raw, _ in pairs], [image for _, image in pairs], [aug_seed], self._policy
        )
        own = rows.index(row)
        view_3HW = cell.views_NS3HW[own, 0]
        view = ShownView(aug_seed, view_3HW, view_digest(view_3HW), lam=cell.mixes[0].lam)
        if view.lam == 1.0:
            return view
        partner = pairs[1 - own][0]
        return replace(view, partner=partner.key, partner_label=partner.label)

    def _decode(self, place: Place) -> tuple[RawSample, Image.Image]:
        raw = self.samples.read(*place)
        return raw, decode_for(self._policy, raw.encoded, where=self.samples.where(*place))

    def _partner(self, place: Place, aug_seed: int) -> int:
        """Return the row that a row is mixed with; itself where it stays alone."""
        block, row = place
        if self._policy.mixing is None:
            return row
        partner = int(partners_of(self.samples.table(block), aug_seed)[row])
        try:
            self._decoded((block, partner))
        except BadImageError:
            return row
        return partner


class _CachedRenderer(_Renderer):
    """Also compares each view with the cache, and adds the teacher's guesses."""

    def __init__(self, samples: Samples, cache: Cache, teacher: str | None) -> None:
        super().__init__(samples, cache.identity.policy)
        self._cache, self._teacher = cache, teacher
        self._check = ViewCheck(cache)

    def view(self, place: Place, aug_seed: int) -> ShownView:
        """Render one view and ask the cache about it."""
        view, (block, row) = super().view(place, aug_seed), place
        verdict = self._check.verdict(view.view_3HW, block=block, row=row, aug_seed=aug_seed)
        return replace(view, verdict=verdict, guesses=self._guesses(block, row, aug_seed))

    def _guesses(self, block: int, row: int, aug_seed: int) -> tuple[tuple[int, float], ...]:
        if self._teacher is None:
            return ()
        cut = self._cache.targets(self._teacher, block, aug_seed).take([row])
        probs_K = cut.kept_probs_NK(1.0)[0]
        ids_K = np.arange(len(probs_K)) if cut.class_ids_NK is None else cut.class_ids_NK[0]
        best = np.argsort(-probs_K, kind="stable")[:_NUM_GUESSES]
        return tuple((int(ids_K[k]), float(probs_K[k])) for k in best if ids_K[k] >= 0)


def _chosen(
    renderer: _Renderer, counts: Mapping[int, int], choice: Choice, aug_seeds: Sequence[int]
) -> tuple[ShownSample, ...]:
    if choice.keys:
        places = find_keys(renderer.samples, counts, choice.keys)
        return tuple(renderer.sample(_demanded(renderer.samples, place), aug_seeds) for place in places)
    shown, last_error = [], None
    for part in spread_places(counts, choice.num_samples):
        for place in part:
            if not _is_good(renderer.samples, place):
                continue
            try:
                shown.append(renderer.sample(place, aug_seeds))
                break
            except BadImageError as error:
                last_error = error
    if not shown and last_error is not None:
        raise last_error
    return tuple(shown)


def _is_good(samples: Samples, place: Place) -> bool:
    block, row = place
    return samples.holds(block, row) and bool(samples.table(block).ok_N[row])


def _demanded(samples: Samples, place: Place) -> Place:
    if not _is_good(samples, place):
        status = STATUS_NAMES.get(int(samples.table(place[0]).status[place[1]]), "bad")
        raise BadImageError(
            f"{samples.where(*place)} is marked as {status} in the cache and has no views; choose other --keys"
        )
    return place


def _is_cached(cache: Cache, teacher: str | None, block: int, aug_seeds: Sequence[int]) -> bool:
    groups = set(cache.committed_groups(teacher or "views", block))
    return all(aug_seed // cache.identity.seeds_per_group in groups for aug_seed in aug_seeds)


def _teacher_name(cache: Cache, teacher: str | None) -> str | None:
    if teacher is not None and teacher not in cache.teachers:
        raise ConfigError(
            f"the cache {cache.url} has no teacher {teacher!r}; it has {', '.join(cache.teachers) or 'none'}"
        )
    return teacher or (cache.teachers[0] if cache.teachers else None)


def _demand_fitting(names: ClassNames | None, cache: Cache, teacher: str | None) -> None:
    num_classes = cache.identity.teachers[teacher].num_classes if teacher else cache.identity.num_classes
    if names is not None and len(names) != num_classes:
        raise ConfigError(
            f"--class-names gives {len(names)} names, the cache {cache.url} has {num_classes} classes; give one "
            "name for each class, in class order"
        )
