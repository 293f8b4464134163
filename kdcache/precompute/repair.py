"""Computing again what of a cache is broken, and nothing else: every byte must come out as its record says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdcache.digest import sha256_hex
from kdcache.errors import CorruptChunkError, ManifestMismatchError, StoreError
from kdcache.precompute.damage import BrokenObject, Damage, find_damage, problem_of
from kdcache.precompute.describe import existing_manifest
from kdcache.precompute.plan import Task
from kdcache.precompute.workbench import Workbench
from kdcache.store.commits import dump_index
from kdcache.store.layout import INDEX_PATH, SAMPLES, VIEWS, Layout
from kdcache.store.manifest import Manifest
from kdcache.store.objects import ObjectStore, open_objects

__all__ = ["RepairReport", "repair"]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was broken, and whether it is whole again.

    Attributes:
        content_id: of the whole cache, before as after.
        documents: paths of broken metadata, which the manifest, the index and the records give again.
        objects: broken data objects, as {path, unit, problem}.
        shards: names of the shards that they need.
        teachers: names of the teachers that they need.
        is_made: False for a dry run.
    """

    url: str
    content_id: str
    documents: tuple[str, ...]
    objects: tuple[dict[str, str], ...]
    shards: tuple[str, ...]
    teachers: tuple[str, ...]
    is_made: bool

    @classmethod
    def of(cls, url: str, manifest: Manifest, damage: Damage, *, is_made: bool) -> "RepairReport":
        """Sum up."""
        identity, blocks = manifest.identity, Layout.of(manifest.identity).blocks
        units = [one.unit for one in damage.objects]
        return cls(
            url=url,
            content_id=damage.content_id,
            documents=(*damage.documents, *([INDEX_PATH] if damage.is_index_bad else [])),
            objects=tuple(
                {"path": one.entry.path, "unit": one.unit.name, "problem": one.problem}
                for one in damage.objects
            ),
            shards=tuple(dict.fromkeys(identity.shards[blocks[unit.block].shard].name for unit in units)),
            teachers=tuple(dict.fromkeys(unit.kind for unit in units if unit.kind not in {SAMPLES, VIEWS})),
            is_made=is_made,
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return asdict(self)

    def summary(self) -> str:
        """Return the report in a few lines."""
        lines = [f"{one['path']}: {one['problem']}" for one in self.objects]
        lines += [f"{path}: it is missing, or not what it must be" for path in self.documents]
        if not lines:
            return f"{self.url} is whole: nothing was touched\ncontent id {self.content_id}"
        state = "written again, equal to the byte" if self.is_made else "broken; nothing was written"
        needs = f"needed: shards {', '.join(self.shards)}" if self.shards and not self.is_made else ""
        needs += f"; teachers {', '.join(self.teachers)}" if needs and self.teachers else ""
        lines += [f"{len(lines):,} objects of {self.url}: {state}", needs, f"content id {self.content_id}"]
        return "\n".join(line for line in lines if line)


def repair(
    settings: Mapping[str, Any], *, where: str, dry_run: bool = False, quiet: bool = False
) -> RepairReport:
    """Find what of a cache is missing or damaged, and compute it again.

    Args:
        settings: as of ``PrecomputeConfig``; ``cache`` is the one to repair. Shards are needed for data objects,
            teachers for their own targets. Policy, views and sizes are the cache's.
        where: who asks, for messages.
        dry_run: only look.
        quiet: print no progress.

    Raises:
        ConfigError: a shard or a teacher that is needed is not given.
        CorruptChunkError: what a unit must be is not known any more.
        ManifestMismatchError: what is computed now is not what was committed, or a teacher is another one.
        StoreError: there is no cache, or it cannot be written.
        InterruptedRunError: a signal came; what was repaired stays.
    """
    url = str(settings.get("cache") or "")
    manifest = existing_manifest(url)
    if manifest is None:
        raise StoreError(f"there is no cache at {url} to repair; check the path")
    objects = open_objects(url)
    damage = find_damage(objects, manifest, quiet=quiet)
    if not dry_run:
        _write_documents(objects, damage)
        if damage.objects:
            units = {one.unit: None for one in damage.objects}
            bench = Workbench.of(settings, objects, manifest, units, where=where, quiet=quiet)
            bench.run(units, _Mender(objects, damage.objects).mend, quiet=quiet)
    return RepairReport.of(objects.url, manifest, damage, is_made=not dry_run)


def _write_documents(objects: ObjectStore, damage: Damage) -> None:
    for path, data in damage.documents.items():
        objects.replace(path, data)
    if damage.is_index_bad:
        objects.replace(INDEX_PATH, dump_index(damage.records.values()))


@dataclass(frozen=True, slots=True)
class _Mender:
    """Puts objects that were computed again in the place of broken ones, if they are the same to the byte."""

    objects: ObjectStore
    broken: tuple[BrokenObject, ...]

    def mend(self, made: ObjectStore, task: Task) -> None:
        """Replace the broken objects of one task."""
        for one in self.broken:
            if one.unit.block != task.block.index or one.unit.group not in {None, task.group}:
                continue
            data = made.get(one.entry.path)
            if sha256_hex(data) != one.entry.sha256:
                raise _other_bytes(one, self.objects.url)
            self.objects.replace(one.entry.path, data)
            problem = problem_of(self.objects, one.entry)
            if problem:
                raise CorruptChunkError(
                    f"{one.entry.path} in {self.objects.url} was written and is broken again ({problem}); "
                    "check the disk or the server"
                )


def _other_bytes(one: BrokenObject, url: str) -> ManifestMismatchError:
    teacher = (
        ""
        if one.unit.kind in {SAMPLES, VIEWS}
        else " (for targets also the device, the batch size and the teacher's threads)"
    )
    return ManifestMismatchError(
        f"{one.entry.path} of {one.unit.name} in {url} comes out with other bytes than its commit record tells "
        f"(sha256 {one.entry.sha256[:16]}), so it was not written, and nothing after it; use the shards, the "
        f"versions of torch, Pillow and numcodecs{teacher} that the cache was made with, or take this object from "
        "another copy of the cache"
    )
