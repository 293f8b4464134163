"""Is a rendered view the one the teacher saw? Digests decide; thumbnails say how far off it is."""

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import ViewMismatchError
from kdcache.store.layout import THUMBNAIL_ROWS
from kdcache.store.reader import Cache
from kdcache.views import thumbnail, view_digest
from kdcache.views.digest import thumbnails_agree
from kdcache.views.fingerprint import decoder_fingerprint, drifted_probes

__all__ = ["ViewCheck"]


class ViewCheck:
    """Compares views with a cache's digests: all of the first batch, then one view in ``every``."""

    def __init__(self, cache: Cache, *, every: int) -> None:
        self._cache = cache
        self._every = every
        self._seen = 0

    def due(self, num_views: int) -> list[int]:
        """Return which of the next ``num_views`` views are to be checked."""
        first = self._seen == 0
        due = [i for i in range(num_views) if first or (self._seen + i) % self._every == 0]
        self._seen += num_views
        return due

    def check(
        self, view_3HW: NDArray[np.uint8], *, key: str, block: int, row: int, aug_seed: int, where: str
    ) -> None:
        """Compare one view.

        Raises:
            ViewMismatchError: it is another one; the message says what differs and what to do.
        """
        expected = int(self._cache.view_digests(block, aug_seed)[row])
        found = view_digest(view_3HW)
        if found != expected:
            raise ViewMismatchError(
                f"the view of sample {key!r} ({where}) under aug_seed {aug_seed} is not the one that the teacher "
                f"saw: its pixel digest is {found:08x}, the cache {self._cache.url} has {expected:08x} (view policy "
                f"{self._cache.identity.policy_digest[:12]}). {self._reason(view_3HW, block, row, aug_seed)} "
                f"{_versions(self._cache.manifest.about.software)}"
            )

    def _reason(self, view_3HW: NDArray[np.uint8], block: int, row: int, aug_seed: int) -> str:
        stored = self._cache.manifest.about.decoder
        drifted = drifted_probes(stored, decoder_fingerprint()) if stored else ()
        if drifted:
            return (
                f"Images are decoded differently here ({', '.join(drifted)}): use the decoder versions that the "
                "cache was made with."
            )
        if row >= THUMBNAIL_ROWS:
            return "The image was changed, or another view was rendered: check shards and cache with kdcache verify."
        cached_883 = self._cache.thumbnails(block, aug_seed)[row]
        if thumbnails_agree(thumbnail(view_3HW), cached_883):
            return "It is the same view up to the rounding of a decoder: use the library versions below."
        return "It shows something else: the image or the view policy was changed; precompute again."


def _versions(cached: dict[str, str]) -> str:
    parts = []
    for name in ("pillow", "numpy", "kdcache"):
        here, there = version(name), cached.get(name)
        parts.append(f"{name} {here} here, {there or 'unknown'} there")
    return f"Versions: {'; '.join(parts)}."
