"""The card of a cache: a page for people and hubs, and metadata for programs."""

from kdcache.report.card_croissant import croissant
from kdcache.report.card_facts import CardFacts
from kdcache.report.card_page import card_page
from kdcache.store.layout import CARD_PATHS
from kdcache.store.reader import Cache

__all__ = ["card_files"]


def card_files(cache: Cache, *, url: str | None = None) -> dict[str, bytes]:
    """Return README.md and croissant.json of a cache, as they are now.

    They say what the manifest and the commit records say; up to 65,536 views of each teacher are read for its
    top-5 figure, where there are labels.

    Args:
        cache: which cache.
        url: where it is, or will be, published; the commands on the page fetch it from there.

    Raises:
        CorruptChunkError: something that is read is damaged.
    """
    facts = CardFacts.of(cache, url=url)
    return dict(zip(CARD_PATHS, (card_page(facts).encode("utf-8"), croissant(facts)), strict=True))
