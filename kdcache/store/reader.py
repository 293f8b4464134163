"""Reading a cache: the targets of one (block, aug_seed) as arrays, or of one (sample key, aug_seed)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError, MissingViewError, StoreError
from kdcache.logits import TopKLogits
from kdcache.store.block_reader import BlockReader
from kdcache.store.commits import CommitRecord, content_id
from kdcache.store.encoding import decode
from kdcache.store.features import Float16, decode_features
from kdcache.store.layout import VIEWS, Block, Layout, Unit, record_path
from kdcache.store.manifest import Identity, Manifest
from kdcache.store.objects import LocalObjects, ObjectStore, open_objects
from kdcache.store.pin import demand_pinned, split_pin
from kdcache.store.records import all_records, list_units
from kdcache.store.root import read_manifest
from kdcache.store.spool import Spool
from kdcache.store.tables import SampleTable
from kdcache.store.trust import check_record

__all__ = ["Cache", "open_cache"]


class Cache:
    """One open cache. It may be pickled, and used after a fork or in a spawned worker.

    Its memory does not grow with the number of samples: blocks are read when they are asked for.

    Attributes:
        manifest: what the cache says about itself.
        layout: where everything is.
    """

    def __init__(self, objects: ObjectStore, manifest: Manifest, *, spool: Spool | None = None) -> None:
        self.manifest = manifest
        self.layout = Layout.of(manifest.identity)
        self._objects, self._spool = objects, spool
        self._reader = BlockReader(objects, self.layout, spool)
        self._committed: dict[str, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was read behind; but which units are committed takes long to list in an object store."""
        return {
            "objects": self._objects,
            "manifest": self.manifest,
            "spool": self._spool,
            "committed": self._committed if self.is_remote else {},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start anew with the same manifest."""
        self.__init__(state["objects"], state["manifest"], spool=state["spool"])  # type: ignore[misc]
        self._committed = state["committed"]

    @property
    def url(self) -> str:
        """Where the cache is."""
        return self._objects.url

    @property
    def is_remote(self) -> bool:
        """Whether every read takes its time, so that it is worth reading ahead."""
        return not isinstance(self._objects, LocalObjects)

    @property
    def identity(self) -> Identity:
        """What the cache is: data, views, teachers."""
        return self.manifest.identity

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, shard by shard."""
        return self.layout.blocks

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the teachers; embeddings of theirs are none."""
        return tuple(name for name, entry in self.identity.teachers.items() if entry.features_of is None)

    @property
    def feature_units(self) -> dict[str, str]:
        """The teachers whose embedding is cached, and the kind of the units that hold it."""
        entries = self.identity.teachers.items()
        return {entry.features_of.teacher: name for name, entry in entries if entry.features_of}

    def num_features(self, teacher: str) -> int:
        """Return D, the length of a teacher's embedding.

        Raises:
            MissingViewError: it is not cached.
        """
        return self.identity.teachers[self._features_name(teacher)].top_k

    def targets(self, teacher: str, block: int, aug_seed: int) -> TopKLogits:
        """Return a teacher's targets for the R rows of a block; bad samples and padding have none.

        Raises:
            MissingViewError: they are not committed, or there is no such teacher, block or seed.
            CorruptChunkError: they are damaged.
        """
        if teacher not in self.teachers:
            raise MissingViewError(
                f"the cache at {self.url} has no teacher {teacher!r}; "
                f"it has {', '.join(self.teachers) or 'none'}"
            )
        unit = self._demand(teacher, block, aug_seed)
        entry = self.identity.teachers[teacher]
        planes_PR = self._reader.planes(teacher, block, aug_seed)
        try:
            return decode(
                planes_PR, encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes
            )
        except CorruptChunkError as error:
            spec, position = self.layout.objects_of(unit)[0]
            raise self._reader.explain(spec.object_path(*position), error) from error

    def features(self, teacher: str, block: int, aug_seed: int) -> Float16:
        """Return a teacher's embeddings (R, D) of the rows of a block; NaN for bad samples and padding.

        Raises:
            MissingViewError: they are not committed, or there is no such teacher, block or seed.
            CorruptChunkError: they are damaged.
        """
        name = self._features_name(teacher)
        unit = self._demand(name, block, aug_seed)
        planes_DR = self._reader.planes(name, block, aug_seed)
        try:
            return decode_features(planes_DR, num_features=self.identity.teachers[name].top_k)
        except CorruptChunkError as error:
            spec, position = self.layout.objects_of(unit)[0]
            raise self._reader.explain(spec.object_path(*position), error) from error

    def view_digests(self, block: int, aug_seed: int) -> NDArray[np.uint32]:
        """Return the digests of a block's views, uint32 (R,); 0 for bad samples and padding.

        Raises:
            MissingViewError: they are not committed.
            CorruptChunkError: they are damaged.
        """
        self._demand(VIEWS, block, aug_seed)
        return self._reader.view_digests(block, aug_seed)

    def thumbnails(self, block: int, aug_seed: int) -> NDArray[np.uint8]:
        """Return the thumbnails of a block's first eight rows, uint8 (8, 8, 8, 3).

        Raises:
            MissingViewError: they are not committed.
            CorruptChunkError: they are damaged.
        """
        self._demand(VIEWS, block, aug_seed)
        return self._reader.thumbnails(block, aug_seed)

    def samples(self, block: int) -> SampleTable:
        """Return the samples of a block, padding left out.

        Raises:
            MissingViewError: they are not committed.
            CorruptChunkError: they are damaged.
        """
        self._demand_block(block)
        if not self.is_committed(Unit.samples(block).name):
            raise MissingViewError(
                f"the samples of block {block} are not in {self.url} yet; run the precompute command again"
            )
        return self._reader.samples(block)

    def lookup(self, sample_key: str, aug_seed: int, *, teacher: str | None = None) -> TopKLogits:
        """Return the targets of one view, by the key of its sample.

        It reads the keys of every block (a few seconds per million samples): meant for looking, not for
        training. ``teacher`` may be left out when the cache has one.

        Raises:
            MissingViewError: no committed sample has this key, or its view is not committed.
            StoreError: several shards have a sample of this key, or several teachers are there.
        """
        if teacher is None:
            teacher = self._only_teacher()
        found = [
            (block.index, row)
            for block in self.blocks
            if self.is_committed(Unit.samples(block.index).name)
            for row, key in enumerate(self._reader.samples(block.index).keys)
            if key == sample_key
        ]
        if not found:
            raise MissingViewError(
                f"no committed sample of {self.url} has the key {sample_key!r}; "
                "'kdcache info' shows what is there"
            )
        if len(found) > 1:
            shards = [self.identity.shards[self.blocks[block].shard].name for block, _ in found]
            raise StoreError(
                f"the key {sample_key!r} is in {len(found)} shards ({', '.join(shards[:4])}); "
                "keys are unique within a shard only: read by block and row instead"
            )
        block, row = found[0]
        return self.targets(teacher, block, aug_seed).take([row])

    def is_committed(self, unit_name: str) -> bool:
        """Tell whether a unit is whole; one that was not a moment ago is looked up again."""
        kind = unit_name.rpartition("/")[0]
        if kind not in self._committed:
            self._committed[kind] = set(list_units(self._objects, kind))
        if unit_name in self._committed[kind]:
            return True
        try:
            self._objects.size(record_path(unit_name))
        except FileNotFoundError:
            return False
        self._committed[kind].add(unit_name)
        return True

    def committed_groups(self, teacher: str, block: int) -> tuple[int, ...]:
        """Return which groups of augmentation seeds hold this teacher's targets of a block."""
        groups = range(self.layout.num_groups)
        return tuple(group for group in groups if self.is_committed(Unit(teacher, block, group).name))

    def records(self) -> Iterator[CommitRecord]:
        """Yield the commit records of the units that the manifest knows, sorted by unit name.

        Raises:
            CorruptChunkError: one is damaged, or does not fit the manifest.
        """
        for record in all_records(self._objects):
            # A cache that grew since it was opened has units that its manifest did not know.
            if self.layout.unit(record.unit) is not None:
                check_record(record, self.layout, url=self.url)
                yield record

    def content_id(self) -> str:
        """Return the id that equal caches share, as in ``sha256:1f0c...``; of what is committed now."""
        return content_id(self.identity, (entry for record in self.records() for entry in record.objects))

    def _only_teacher(self) -> str:
        if len(self.teachers) != 1:
            raise StoreError(f"name the teacher: {self.url} has {', '.join(self.teachers) or 'none'}")
        return self.teachers[0]

    def _features_name(self, teacher: str) -> str:
        if teacher not in self.feature_units:
            raise MissingViewError(
                f"the cache at {self.url} has no features of teacher {teacher!r}, but of "
                f"{', '.join(self.feature_units) or 'none'}; kdcache extend --store-features adds them"
            )
        return self.feature_units[teacher]

    def _demand_block(self, block: int) -> None:
        if not 0 <= block < len(self.blocks):
            raise MissingViewError(f"block {block} is not in {self.url}, which has {len(self.blocks)} blocks")

    def _demand(self, kind: str, block: int, aug_seed: int) -> Unit:
        self._demand_block(block)
        if not 0 <= aug_seed < self.identity.num_aug_seeds:
            raise MissingViewError(
                f"aug_seed {aug_seed} is not in {self.url}, which has {self.identity.num_aug_seeds} views "
                "of each sample, counted from 0; kdcache extend adds more"
            )
        unit = Unit(kind, block, aug_seed // self.identity.seeds_per_group)
        if not self.is_committed(unit.name):
            raise MissingViewError(
                f"{unit.name} (aug_seed {aug_seed}) is not in {self.url} yet; "
                "run the same precompute command again to complete the cache"
            )
        return unit


def open_cache(url: str | Path) -> Cache:
    """Open a cache for reading: its manifest now, everything else when it is asked for.

    ``url`` may be pinned: ``s3://bucket/cache@sha256:1f0c2ab9`` opens no cache with another content id.

    Raises:
        StoreError: there is no cache, it is damaged, or a newer kdcache wrote it.
        ManifestMismatchError: it is not the pinned one.
        ConfigError: the URL's scheme is not supported, or what it is pinned to is no content id.
    """
    address, pin = split_pin(url)
    objects = open_objects(address)
    manifest = read_manifest(objects)
    cache = Cache(objects, manifest, spool=None if isinstance(objects, LocalObjects) else Spool())
    if pin is not None:
        demand_pinned(cache.url, pin=pin, found=cache.content_id())
    return cache
