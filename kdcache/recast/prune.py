"""A smaller cache out of a larger one: fewer seeds, fewer teachers, fewer kept classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kdcache.errors import StoreError
from kdcache.recast.build import Recode, UnitWork, build, content_id_of, open_target
from kdcache.recast.fewer import fewer_classes
from kdcache.recast.report import RecastReport
from kdcache.recast.selection import Selection
from kdcache.recast.source import Source
from kdcache.store.commits import content_id
from kdcache.store.invariants import check_planes
from kdcache.store.layout import SAMPLES, VIEWS, Layout, Unit
from kdcache.store.manifest import About, Identity, Manifest, Parent, TeacherIdentity
from kdcache.store.pack import encode_object

__all__ = ["prune"]


def prune(
    cache: str | Path,
    out: str | Path,
    *,
    seeds: str | None = None,
    teachers: Sequence[str] | None = None,
    top_k: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> RecastReport:
    """Write a cache that holds a part of another one, which stays as it is.

    Args:
        cache: the cache to take from.
        out: the new one.
        seeds: augmentation seeds to keep, as ``0-24,30``; widened to whole groups.
        teachers: teachers and embeddings to keep.
        top_k: the classes to keep of teachers that keep more.
        dry_run: write nothing.
        quiet: print no progress.

    Raises:
        ConfigError: nothing is asked for, or something that the cache cannot give.
        CorruptChunkError: the cache is damaged.
        StoreError: it cannot be read, holds nothing of what is asked for, or the new one cannot be written.
        InterruptedRunError: a signal came; the same call goes on from there.
    """
    source = Source.open(cache)
    selection = Selection.of(source.identity, seeds=seeds, teachers=teachers, top_k=top_k)
    manifest = _manifest(source, selection)
    objects = open_target(out, manifest, [source])
    work = _work(source, selection, manifest.identity)
    layout = Layout.of(manifest.identity)
    if dry_run:
        records, before = tuple(one.record(layout) for one in work), 0
        found = content_id_of(manifest, work)
    else:
        records, before = build(objects, manifest, work, label="prune", quiet=quiet)
        found = content_id(manifest.identity, (entry for record in records for entry in record.objects))
    return RecastReport(
        out=objects.url,
        content_id=found,
        is_made=not dry_run,
        units_before=before,
        total_units=sum(1 for _ in layout.units()),
        notes=tuple(_notes(source, selection)),
        **RecastReport.counted(records),
    )


def _manifest(source: Source, selection: Selection) -> Manifest:
    """Describe the smaller cache; a seed keeps its number, so only seeds above the last one are gone from V."""
    identity, about = source.identity, source.manifest.about
    changes = {
        "num_aug_seeds": (selection.groups[-1] + 1) * identity.seeds_per_group,
        "teachers": {
            name: _lowered(identity.teachers[name], selection).model_dump() for name in selection.teachers
        },
    }
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "teachers": {name: about.teachers[name] for name in selection.teachers if name in about.teachers},
        "parent": Parent(content_id=source.content_id(), selection=selection.to_json(identity)),
    }
    return Manifest(
        identity=Identity.parse(identity.model_dump() | changes, where="the pruned cache"),
        about=About.model_validate(about.model_dump(exclude={"merged_from"}) | facts),
    )


def _lowered(teacher: TeacherIdentity, selection: Selection) -> TeacherIdentity:
    if not selection.is_lowered(teacher):
        return teacher
    return teacher.model_copy(update={"encoding": "gap8", "top_k": selection.top_k})


def _work(source: Source, selection: Selection, identity: Identity) -> list[UnitWork]:
    kinds, layout = {SAMPLES, VIEWS, *selection.teachers}, Layout.of(identity)
    kept = [
        unit
        for unit in source.units
        if unit.kind in kinds and (unit.group is None or unit.group in selection.groups)
    ]
    if not any(unit.group is not None for unit in kept):
        raise StoreError(
            f"{source.url} has committed nothing of the seeds {selection.seeds(identity.seeds_per_group)}; "
            "'kdcache info' shows what it holds"
        )
    recodes: dict[str, Recode] = {
        name: _Fewer(identity.teachers[name], layout)
        for name in selection.teachers
        if selection.is_lowered(source.identity.teachers[name])
    }
    return [UnitWork(unit, source, unit, recodes.get(unit.kind)) for unit in kept]


@dataclass(frozen=True, slots=True)
class _Fewer:
    """Reads a unit of a teacher and encodes it with fewer classes."""

    teacher: TeacherIdentity
    layout: Layout

    def __call__(self, source: Source, unit: Unit) -> tuple[bytes, dict[str, Any]]:
        record = source.records[unit.name]
        source.read(record.objects[0])  # what is encoded anew must be what was committed
        before, planes, saturated = source.identity.teachers[unit.kind], [], 0
        for seed in source.seeds_of(unit):
            planes_PR = source.reader.planes(unit.kind, unit.block, seed)
            check_planes(planes_PR, before)
            fewer_PR, cut = fewer_classes(planes_PR, before, self.teacher.top_k)
            check_planes(fewer_PR, self.teacher)
            planes.append(fewer_PR)
            saturated += cut
        ((spec, _),) = self.layout.objects_of(unit)
        if before.encoding == "gap8":
            # A gap of 254 may also be one that was not cut.
            saturated = min(saturated, record.saturated)
        return encode_object(spec, np.stack(planes)), {"saturated": saturated}


def _notes(source: Source, selection: Selection) -> list[str]:
    names = [
        name
        for name in selection.teachers
        if selection.is_lowered(source.identity.teachers[name])
        and source.identity.teachers[name].encoding == "gap8"
    ]
    if not names:
        return []
    exact = f"of {', '.join(names)} classes, gaps and top-1 are what --top-k {selection.top_k} gives"
    tail = "the tail is summed up from stored logits, within 3/64 nat of it (more where gaps are saturated)"
    return [f"{exact}; {tail}, so the content id is another one"]
