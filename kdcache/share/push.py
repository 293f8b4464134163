"""Publishing a cache: a whole copy."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from kdcache.errors import ConfigError
from kdcache.share.hub_copy import HubOptions
from kdcache.share.links import refuse_links
from kdcache.share.plan import plan_copy
from kdcache.share.pool import DEFAULT_JOBS
from kdcache.share.report import TransferReport
from kdcache.share.source import read_source
from kdcache.share.transfer import refuse_same_place, transfer
from kdcache.store.documents import read_limited
from kdcache.store.hub_objects import HubObjects
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.root import expected_root

__all__ = ["CARD", "push"]

CARD = "README.md"
"""What a hub shows of a repository."""

_LARGEST_CARD = 1 << 20


def push(
    source: str | Path,
    destination: str | Path,
    *,
    jobs: int = DEFAULT_JOBS,
    dry_run: bool = False,
    quiet: bool = False,
    private: bool = False,
    extra_files: Mapping[str, bytes] | None = None,
) -> TransferReport:
    """Copy every committed unit of a cache to another place; what is there with equal checksum is not sent again.

    Data objects come first, then commit records, then ``SHA256SUMS``, and the manifest last: half a copy does
    not open. On a hub many objects are one commit, and the manifest is in the last one.

    Args:
        source: address of the cache.
        destination: where the copy is to be.
        jobs: requests at once.
        dry_run: say what there is to do, and write nothing.
        quiet: no progress.
        private: a repository on a hub that is made is a private one.
        extra_files: what a hub gets beside the manifest, by path; a ``README.md`` beside the source's manifest is
            taken unless it is among them.

    Raises:
        ConfigError: what only a hub has is asked for elsewhere.
        ManifestMismatchError: another cache is there.
        CorruptChunkError: an object of the source is damaged or missing; it is named.
        StoreError: there is no cache at the source, or the destination cannot be written.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    objects, target = open_objects(source), open_objects(destination)
    refuse_same_place(objects, target)
    refuse_links(target)
    on_hub = _on_hub(objects, target, private=private, extra_files=extra_files or {})
    found = read_source(objects, jobs=jobs)
    records = tuple(found.records.values())
    for record in records:
        found.check_sizes(record)
    plan = plan_copy(found.manifest, expected_root(objects, found.layout), records)
    return transfer(found, target, plan, label="push", jobs=jobs, dry_run=dry_run, quiet=quiet, on_hub=on_hub)


def _on_hub(
    source: ObjectStore, target: ObjectStore, *, private: bool, extra_files: Mapping[str, bytes]
) -> HubOptions | None:
    if not isinstance(target, HubObjects):
        if private or extra_files:
            raise ConfigError(
                f"{target.url} is not on a hub, and only there are private repositories and further files; push to "
                "hf://datasets/owner/name, or leave them out"
            )
        return None
    card: dict[str, bytes] = {}
    if CARD not in extra_files:
        with contextlib.suppress(FileNotFoundError):
            card[CARD] = read_limited(source, CARD, limit=_LARGEST_CARD)
    return HubOptions(extra_files=card | dict(extra_files), private=private)
