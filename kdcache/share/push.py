"""Publishing a cache: a whole copy."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from kdcache.errors import ConfigError
from kdcache.share.card import card_of, warnings_of
from kdcache.share.links import refuse_links
from kdcache.share.plan import plan_copy
from kdcache.share.pool import DEFAULT_JOBS
from kdcache.share.report import TransferReport
from kdcache.share.source import read_source
from kdcache.share.transfer import refuse_same_place, transfer
from kdcache.store.hub_objects import HubObjects
from kdcache.store.objects import open_objects
from kdcache.store.root import expected_root
from kdcache.store.web import demand_writable

__all__ = ["push"]


def push(
    source: str | Path,
    destination: str | Path,
    *,
    extra_files: Mapping[str, bytes] = MappingProxyType({}),
    jobs: int = DEFAULT_JOBS,
    dry_run: bool = False,
    quiet: bool = False,
    private: bool = False,
) -> TransferReport:
    """Copy every committed unit of a cache to another place; what is there with equal checksum is not sent again.

    Data objects come first, then commit records, then ``SHA256SUMS``, then the card, and the manifest last: half a
    copy does not open. On a hub many objects are one commit, and the manifest is in the last one.

    Args:
        source: address of the cache.
        destination: where the copy is to be.
        extra_files: files that go beside the cache, as ``kdcache.report.card.card_files`` makes them; a card that
            is in the source goes instead.
        jobs: requests at once.
        dry_run: say what there is to do, and write nothing.
        quiet: no progress.
        private: a repository on a hub that is made is a private one.

    Raises:
        ConfigError: a private repository is asked for elsewhere than on a hub.
        ManifestMismatchError: another cache is there.
        CorruptChunkError: an object of the source is damaged or missing; it is named.
        StoreError: there is no cache at the source, or the destination cannot be written.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    objects, target = open_objects(source), open_objects(destination)
    refuse_same_place(objects, target)
    demand_writable(target)
    refuse_links(target)
    if private and not isinstance(target, HubObjects):
        raise ConfigError(
            f"{target.url} is not on a hub, and only there are private repositories; push to "
            "hf://datasets/owner/name, or leave it out"
        )
    found = read_source(objects, jobs=jobs)
    records = tuple(found.records.values())
    for record in records:
        found.check_sizes(record)
    card = card_of(found, extra_files)
    plan = plan_copy(found.manifest, expected_root(objects, found.layout), records, extra_files=card)
    return transfer(
        found,
        target,
        plan,
        label="push",
        jobs=jobs,
        dry_run=dry_run,
        quiet=quiet,
        warnings=warnings_of(found, card),
        private=private,
    )
