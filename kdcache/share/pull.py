"""Fetching a cache, or a part of one, from a place that need not be trusted."""

from pathlib import Path

from kdcache.errors import StoreError
from kdcache.share.links import refuse_links
from kdcache.share.plan import plan_copy
from kdcache.share.pool import DEFAULT_JOBS
from kdcache.share.report import TransferReport
from kdcache.share.selection import Part, Selection
from kdcache.share.source import Source, read_source
from kdcache.share.transfer import refuse_same_place, transfer
from kdcache.store.manifest import Manifest
from kdcache.store.objects import open_objects
from kdcache.store.root import dump_root, expected_root
from kdcache.store.web import demand_writable

__all__ = ["pull"]


def pull(
    source: str | Path,
    destination: str | Path,
    *,
    selection: Selection | None = None,
    jobs: int = DEFAULT_JOBS,
    dry_run: bool = False,
    quiet: bool = False,
) -> TransferReport:
    """Copy the committed units of a cache, or those of a selection, and check each hash before a file gets its name.

    Nothing is written but names that the format has. A part keeps the shapes and paths of the whole; its
    manifest names the content id of the cache that it was taken from, and what was selected.

    Args:
        source: address of the cache.
        destination: where the copy is to be.
        selection: which seeds, teachers and shards; None takes all.
        jobs: requests at once.
        dry_run: say what there is to do, and write nothing.
        quiet: no progress.

    Raises:
        ConfigError: the cache has no such seed, teacher or shard.
        ManifestMismatchError: another cache is at the destination.
        CorruptChunkError: an object of the source is damaged, missing or made up; it is named.
        StoreError: there is no cache at the source, a link is in the way, or the destination cannot be written.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    objects, target = open_objects(source), open_objects(destination)
    refuse_same_place(objects, target)
    demand_writable(target)
    refuse_links(objects)
    refuse_links(target)
    found = read_source(objects, jobs=jobs)
    part = Part.of(found.manifest, selection or Selection())
    manifest, root = _described(found, part)
    records = [record for unit, record in found.records.items() if part.holds(unit)]
    if not records and found.records:
        raise StoreError(
            f"nothing of this selection is committed in {objects.url}; kdcache info says what is"
        )
    for record in records:
        found.check_sizes(record)
    plan = plan_copy(manifest, root, records)
    return transfer(
        found,
        target,
        plan,
        label="pull",
        jobs=jobs,
        dry_run=dry_run,
        quiet=quiet,
        notes=part.notes,
    )


def _described(found: Source, part: Part) -> tuple[Manifest, bytes]:
    """Return the manifest of the copy, and its bytes: a whole copy has the source's own."""
    if part.is_whole:
        return found.manifest, expected_root(found.objects, found.layout)
    manifest = part.manifest_from(found.content_id)
    return manifest, dump_root(manifest)
