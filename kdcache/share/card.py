"""The card of a cache that is published: the files beside the data, and what is missing in them."""

from collections.abc import Mapping

from kdcache.share.source import Source
from kdcache.store.documents import read_limited
from kdcache.store.layout import CARD_PATHS

__all__ = ["card_of", "warnings_of"]

_LIMIT = 1 << 25


def card_of(source: Source, extra_files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files that go beside the data: the source's own card, and what else is given.

    Raises:
        StoreError: the card of the source is far too large, or a link.
    """
    own = {
        path: read_limited(source.objects, path, limit=_LIMIT) for path in CARD_PATHS if path in source.sizes
    }
    return {**extra_files, **own}


def warnings_of(source: Source, card: Mapping[str, bytes]) -> tuple[str, ...]:
    """Say what whoever fetches the cache would miss."""
    about, url = source.manifest.about, source.objects.url
    empty = [name for name in ("licence", "contact") if not getattr(about, name)]
    flags = " ".join(f"--{name} ..." for name in empty)
    warnings = []
    if empty:
        warnings.append(
            f"the manifest has no {' and no '.join(empty)}, so nobody knows "
            f"{_unknown(empty)}: kdcache extend --cache {url} {flags}"
        )
    old = [
        path for path, data in card.items() if path in CARD_PATHS and source.content_id.encode() not in data
    ]
    if old:
        warnings.append(
            f"{' and '.join(old)} does not name the content id {source.content_id}, so it may describe another "
            f"state of the cache: kdcache card {url} --force writes it anew"
        )
    return tuple(warnings)


def _unknown(empty: list[str]) -> str:
    unknown = {"licence": "what it may be used for", "contact": "whom to ask"}
    return " or ".join(unknown[name] for name in empty)
