"""Is a rendered view the one the teacher saw? Digests decide; thumbnails say how far off it is."""

from functools import cached_property
from importlib.metadata import version
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdcache.data.damage import damaged_unit
from kdcache.errors import ViewMismatchError
from kdcache.store.layout import THUMBNAIL_ROWS, Unit
from kdcache.store.read_once import ReadOnce
from kdcache.store.reader import Cache
from kdcache.views import thumbnail, view_digest
from kdcache.views.digest import thumbnails_agree
from kdcache.views.fingerprint import decoder_fingerprint, drifted_probes

__all__ = ["Verdict", "ViewCheck"]

Verdict = Literal["equal", "drift", "other"]
"""The cached view; the same one rounded differently by a decoder; another one."""

_UNITS_KEPT = 64


class ViewCheck:
    """Compares views with a cache's digests: all of the first batch, then one view in ``every``.

    With ``allow_drift`` a view that differs only by a decoder's rounding is let through and reported.

    Attributes:
        digests: the cached digests of the (block, aug_seed) that were used last.
    """

    def __init__(self, cache: Cache, *, every: int = 1, allow_drift: bool = False) -> None:
        self._cache = cache
        self._every = every
        self._allow_drift = allow_drift
        self._seen = 0
        self.digests = ReadOnce(cache.view_digests, size=_UNITS_KEPT)

    def keep_units(self, count: int) -> None:
        """Keep the digests of at least so many (block, aug_seed) at hand."""
        self.digests.grow(count)

    @cached_property
    def drifted(self) -> tuple[str, ...]:
        """The probe images that the cache's decoder and this one make different pixels of."""
        stored = self._cache.manifest.about.decoder
        return drifted_probes(stored, decoder_fingerprint()) if stored else ()

    def due(self, num_views: int) -> list[int]:
        """Return which of the next ``num_views`` views are to be checked."""
        first = self._seen == 0
        due = [i for i in range(num_views) if first or (self._seen + i) % self._every == 0]
        self._seen += num_views
        return due

    def verdict(self, view_3HW: NDArray[np.uint8], *, block: int, row: int, aug_seed: int) -> Verdict:
        """Compare one view of a sample whose bytes are known to be the cache's.

        Where the digest differs, the thumbnail decides; rows without one go by the decoders' fingerprints.

        Raises:
            CorruptChunkError: the cache has no digest of this view.
        """
        digest = int(self.digests(block, aug_seed)[row])
        if digest == 0:
            unit = Unit.views(block, aug_seed // self._cache.identity.seeds_per_group)
            raise damaged_unit(
                self._cache, unit, f"aug_seed {aug_seed} has no digest of row {row}, a good sample"
            )
        if view_digest(view_3HW) == digest:
            return "equal"
        if row >= THUMBNAIL_ROWS:
            return "drift" if self.drifted else "other"
        cached_883 = self._cache.thumbnails(block, aug_seed)[row]
        return "drift" if thumbnails_agree(thumbnail(view_3HW), cached_883) else "other"

    def check(
        self, view_3HW: NDArray[np.uint8], *, key: str, block: int, row: int, aug_seed: int, where: str
    ) -> bool:
        """Compare one view; return whether it drifted.

        Raises:
            ViewMismatchError: it is another one, or it drifted and that is not allowed; the message says what
                differs and what to do.
        """
        verdict = self.verdict(view_3HW, block=block, row=row, aug_seed=aug_seed)
        if verdict == "equal":
            return False
        if verdict == "drift" and self._allow_drift:
            return True
        found, expected = view_digest(view_3HW), int(self.digests(block, aug_seed)[row])
        raise ViewMismatchError(
            f"the view of sample {key!r} ({where}) under aug_seed {aug_seed} is not the one that the teacher "
            f"saw: its pixel digest is {found:08x}, the cache {self._cache.url} has {expected:08x} (view policy "
            f"{self._cache.identity.policy_digest[:12]}). {self._reason(verdict, row)} "
            f"{_versions(self._cache.manifest.about.software)}"
        )

    def _reason(self, verdict: Verdict, row: int) -> str:
        if verdict == "drift":
            differ = f" ({', '.join(self.drifted)})" if self.drifted else ""
            return (
                f"It is the same view up to the rounding of a decoder{differ}: use the library versions below, or "
                "accept the difference with --allow-decoder-drift."
            )
        if row >= THUMBNAIL_ROWS:
            return "The view policy is rendered differently here: check shards and cache with kdcache verify."
        return "It shows something else: the image or the view policy was changed; precompute again."


def _versions(cached: dict[str, str]) -> str:
    parts = []
    for name in ("pillow", "numpy", "kdcache"):
        here, there = version(name), cached.get(name)
        parts.append(f"{name} {here} here, {there or 'unknown'} there")
    return f"Versions: {'; '.join(parts)}."
