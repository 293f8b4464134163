"""Several caches of the same views become one: other shards, other seeds, other teachers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kdcache.errors import ConfigError
from kdcache.recast.build import UnitWork, build, content_id_of, open_target
from kdcache.recast.identity import demand_no_conflict, merged_manifest, notes_on_terms
from kdcache.recast.repeated_keys import repeated_keys
from kdcache.recast.report import RecastReport
from kdcache.recast.same import has_equal_bytes, why_they_differ
from kdcache.recast.source import Place, Source
from kdcache.runtime.progress import make_progress
from kdcache.store.commits import content_id
from kdcache.store.layout import Layout, Unit, blocks_of
from kdcache.store.manifest import Manifest

__all__ = ["merge"]

Chosen = dict[Place, tuple[Source, Unit]]


def merge(
    caches: Sequence[str | Path],
    out: str | Path,
    *,
    allow_repeated_keys: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> RecastReport:
    """Put caches together; their objects are copied byte for byte.

    Args:
        caches: two or more, of the same policy, block size and group size.
        out: the new cache.
        allow_repeated_keys: accept a sample key that two caches have in different shards.
        dry_run: compare everything, and write nothing.
        quiet: print no progress.

    Raises:
        ConfigError: fewer than two caches are named.
        ManifestMismatchError: they contradict each other; what does is named.
        CorruptChunkError: one of them is damaged.
        StoreError: one cannot be read, or the new one cannot be written.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    if len(caches) < 2:
        raise ConfigError("name two caches or more to merge")
    sources = [Source.open(url) for url in caches]
    manifest = merged_manifest(sources, created=datetime.now(UTC).isoformat(timespec="seconds"))
    objects = open_target(out, manifest, sources)
    chosen, notes = _chosen(sources, quiet=quiet)
    if not allow_repeated_keys:
        hint = "(--allow-repeated-keys accepts that: only joining by key then refuses these samples)"
        demand_no_conflict([f"{text} {hint}" for text in repeated_keys(sources, chosen)])
    work = _work(manifest, chosen)
    layout = Layout.of(manifest.identity)
    if dry_run:
        records, before = tuple(one.record(layout) for one in work), 0
        found = content_id_of(manifest, work)
    else:
        records, before = build(objects, manifest, work, label="merge", quiet=quiet)
        found = content_id(manifest.identity, (entry for record in records for entry in record.objects))
    return RecastReport(
        out=objects.url,
        content_id=found,
        is_made=not dry_run,
        units_before=before,
        total_units=sum(1 for _ in layout.units()),
        notes=(*notes, *_decoder_notes(sources), *notes_on_terms(sources)),
        **RecastReport.counted(records),
    )


def _chosen(sources: Sequence[Source], *, quiet: bool) -> tuple[Chosen, list[str]]:
    """Take each unit from the first cache that has it; the others must have the same."""
    chosen: Chosen = {}
    conflicts, repacked = [], 0
    total = sum(len(source.units) for source in sources)
    with make_progress("compare", total=total, unit="units", quiet=quiet) as progress:
        for source in sources:
            for place, unit in source.places.items():
                first, first_unit = chosen.setdefault(place, (source, unit))
                progress.advance(1)
                if first is source or has_equal_bytes(first, first_unit, source, unit):
                    continue
                problem = why_they_differ(first, first_unit, source, unit)
                repacked += problem is None
                if problem is not None:
                    conflicts.append(f"{place} differs between {first.url} and {source.url}: {problem}")
    demand_no_conflict(conflicts)
    note = f"{repacked:,} units have equal values in other bytes (another Blosc); the first cache's are taken"
    return chosen, [note] if repacked else []


def _work(manifest: Manifest, chosen: Chosen) -> list[UnitWork]:
    """List the units of the merged cache, in the order of writing."""
    shards = manifest.identity.shards
    blocks = {(shards[block.shard].name, block.first): block.index for block in blocks_of(manifest.identity)}
    by_name = {}
    for place, (source, origin) in chosen.items():
        unit = Unit(place.kind, blocks[place.shard, place.first], place.group)
        by_name[unit.name] = UnitWork(unit, source, origin)
    in_order = (unit.name for unit in Layout.of(manifest.identity).units())
    return [by_name[name] for name in in_order if name in by_name]


def _decoder_notes(sources: Sequence[Source]) -> list[str]:
    """Warn of views that were made by different decoders: their rounding is told apart by the first one's."""
    first = sources[0].manifest.about.decoder
    others = [source.url for source in sources[1:] if source.manifest.about.decoder != first]
    if not others:
        return []
    note = f"the views of {', '.join(others)} were decoded by other libraries than those of {sources[0].url}"
    return [f"{note}, whose decoder fingerprint is kept"]
