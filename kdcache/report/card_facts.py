"""What a card says of a cache: the facts behind its page and its metadata."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from kdcache.report.cache_report import CacheReport
from kdcache.report.markdown import visible
from kdcache.report.top_five import TopFive, top_five
from kdcache.store.addresses import public_url
from kdcache.store.commits import CommitRecord
from kdcache.store.documents import ROOT_LIMIT, read_limited
from kdcache.store.layout import ROOT_PATH
from kdcache.store.manifest import Identity
from kdcache.store.objects import open_objects
from kdcache.store.reader import Cache

__all__ = ["CardFacts"]

_NAMED: Final = 3
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The facts of one cache.

    Attributes:
        records: of all committed units.
        root: the bytes of its manifest's file.
        top_five: by teacher, where it is known.
        url: where the cache is, or will be, published.
    """

    report: CacheReport
    identity: Identity
    records: tuple[CommitRecord, ...]
    root: bytes
    top_five: Mapping[str, TopFive]
    url: str | None

    @classmethod
    def of(cls, cache: Cache, *, url: str | None) -> Self:
        """Look at a cache.

        Raises:
            CorruptChunkError: a commit record, or one of the targets that are looked at, is damaged.
        """
        records = tuple(cache.records())
        report = CacheReport.of(cache, records)
        labelled = [name for name, facts in report.teachers.items() if facts.labelled]
        measured = {name: top_five(cache, name) for name in labelled}
        return cls(
            report=report,
            identity=cache.identity,
            records=records,
            root=read_limited(open_objects(cache.url), ROOT_PATH, limit=ROOT_LIMIT),
            top_five={name: found for name, found in measured.items() if found is not None},
            url=public_url(url) if url else None,
        )

    def title(self, shown: Callable[[str], str] = str) -> str:
        """Return the title, with the teachers' names as ``shown`` writes them."""
        names = list(self.report.teachers)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        whose = f" of {', '.join(map(shown, names[:_NAMED]))}{more}" if names else ""
        return f"Cached logits{whose}"

    @property
    def folder(self) -> str:
        """Return a name for a local copy."""
        name = unquote(urlsplit(self.url or self.report.url).path).rstrip("/").rpartition("/")[2]
        return name if _PLAIN_NAME.fullmatch(name) else "cache.zarr"

    def about(self, name: str) -> str | None:
        """Return one of the manifest's free texts on one line; None where there is none."""
        value: Any = self.report.about.get(name)
        return visible(str(value)) or None if value else None
