"""What a commit record may say in a given cache: nothing of it is used before it is asked here.

A record is sealed by its own sha256 only, which whoever wrote the cache could make. Its numbers decide what is
trained on, so they have to fit the manifest.
"""

from kdcache.errors import CorruptChunkError
from kdcache.store.commits import CommitRecord
from kdcache.store.layout import Layout, Unit, record_path

__all__ = ["check_record"]


def check_record(record: CommitRecord, layout: Layout, *, url: str) -> Unit:
    """Return the unit that a record is about.

    Raises:
        CorruptChunkError: the manifest has no such unit, or the unit has other objects or fewer rows.
    """
    unit = layout.unit(record.unit)
    problem = "the manifest has no such unit" if unit is None else _problem(record, unit, layout)
    if unit is None or problem is not None:
        raise CorruptChunkError(
            f"{record_path(record.unit)} in {url} does not fit the manifest: {problem}; fetch the cache again"
        )
    return unit


def _problem(record: CommitRecord, unit: Unit, layout: Layout) -> str | None:
    specs = layout.objects_of(unit)
    expected = [spec.object_path(*position) for spec, position in specs]
    if [entry.path for entry in record.objects] != expected:
        return f"it names other objects than {', '.join(expected)}"
    # Of views, one object holds a chunk for each seed of the group.
    most = layout.blocks[unit.block].num_rows * specs[0][0].chunks_per_object
    if max(record.rows, record.labelled, record.saturated) > most or record.correct > record.labelled:
        return f"it counts more than the {most:,} rows or views that the unit has"
    for entry, (spec, _) in zip(record.objects, specs, strict=True):
        if entry.size > spec.largest_object:
            return f"{entry.path} has {entry.size:,} bytes, above the limit of {spec.largest_object:,}"
    return None
