"""A cache that others are made of, or compared with: its manifest and what it has committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from kdcache.digest import sha256_hex
from kdcache.errors import CorruptChunkError
from kdcache.store.block_reader import BlockReader
from kdcache.store.commits import CommitRecord, ObjectDigest, content_id
from kdcache.store.layout import Layout, Unit, record_path
from kdcache.store.manifest import Identity, Manifest
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.records import all_records
from kdcache.store.root import read_manifest

__all__ = ["Place", "Source"]


class Place(NamedTuple):
    """A unit by what it is about, which is the same in every cache of equal block and group sizes.

    Attributes:
        kind: ``samples``, ``views`` or a teacher.
        shard: name of the shard.
        first: number of the block's first sample within the shard.
        group: the group of augmentation seeds; None for samples.
    """

    kind: str
    shard: str
    first: int
    group: int | None

    def __str__(self) -> str:
        """Return the place in words."""
        seeds = "" if self.group is None else f", group {self.group}"
        return f"{self.kind} of {self.shard} from sample {self.first}{seeds}"


@dataclass(frozen=True)
class Source:
    """An open cache and its commit records.

    Attributes:
        units: every committed unit, in the order of writing.
        records: by unit name.
    """

    objects: ObjectStore
    manifest: Manifest
    layout: Layout
    units: tuple[Unit, ...]
    records: Mapping[str, CommitRecord]

    @classmethod
    def open(cls, url: str | Path) -> Self:
        """Read manifest and records.

        Raises:
            StoreError: there is no cache.
            CorruptChunkError: a record is damaged, or describes what this cache cannot hold.
        """
        objects = open_objects(url)
        manifest = read_manifest(objects)
        layout = Layout.of(manifest.identity)
        records = {record.unit: record for record in all_records(objects)}
        units = tuple(unit for unit in layout.units() if unit.name in records)
        strangers = sorted(records.keys() - {unit.name for unit in units})
        if strangers:
            raise _damaged(objects.url, strangers[0], "the manifest has no such unit")
        for unit in units:
            expected = [spec.object_path(*position) for spec, position in layout.objects_of(unit)]
            if [entry.path for entry in records[unit.name].objects] != expected:
                raise _damaged(objects.url, unit.name, f"it names other objects than {', '.join(expected)}")
        return cls(objects, manifest, layout, units, records)

    @property
    def url(self) -> str:
        """Where the cache is."""
        return self.objects.url

    @property
    def identity(self) -> Identity:
        """What the cache is."""
        return self.manifest.identity

    @cached_property
    def reader(self) -> BlockReader:
        """Reads values."""
        return BlockReader(self.objects, self.layout)

    @cached_property
    def places(self) -> dict[Place, Unit]:
        """The committed units by what they are about."""
        return {self.place(unit): unit for unit in self.units}

    @property
    def num_bytes(self) -> int:
        """The size of all committed objects."""
        return sum(record.num_bytes for record in self.records.values())

    def content_id(self) -> str:
        """Return the cache's content id."""
        return content_id(
            self.identity, (entry for record in self.records.values() for entry in record.objects)
        )

    def place(self, unit: Unit) -> Place:
        """Say what a unit is about."""
        block = self.layout.blocks[unit.block]
        return Place(unit.kind, self.identity.shards[block.shard].name, block.first, unit.group)

    def seeds_of(self, unit: Unit) -> range:
        """Return the augmentation seeds of a unit; none of samples."""
        size, group = self.identity.seeds_per_group, unit.group
        return range(0) if group is None else range(group * size, (group + 1) * size)

    def read(self, entry: ObjectDigest) -> bytes:
        """Return an object's bytes.

        Raises:
            CorruptChunkError: they are missing, or not what the commit record says.
        """
        try:
            size = self.objects.size(entry.path)
            data = self.objects.get(entry.path) if size == entry.size else b""
        except FileNotFoundError as error:
            problem = CorruptChunkError("it is committed, but missing")
            raise self.reader.explain(entry.path, problem) from error
        if size != entry.size or sha256_hex(data) != entry.sha256:
            problem = CorruptChunkError("its size or sha256 is not the one in its commit record")
            raise self.reader.explain(entry.path, problem)
        return data


def _damaged(url: str, unit_name: str, problem: str) -> CorruptChunkError:
    return CorruptChunkError(
        f"{record_path(unit_name)} in {url} is damaged: {problem}; fetch the cache again, or see what "
        "'kdcache verify' and 'kdcache repair' say of it"
    )
