"""What killed writers left behind: temporary files, and data objects that no commit record names."""

import time
from dataclasses import dataclass
from pathlib import Path

from kdcache.errors import CorruptChunkError
from kdcache.store.layout import Layout
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.records import all_records
from kdcache.store.root import read_manifest
from kdcache.store.stored import StoredObject
from kdcache.store.web import demand_writable

__all__ = ["Garbage", "find_garbage"]


@dataclass(frozen=True)
class Garbage:
    """Objects that mean nothing.

    Attributes:
        url: the cache.
        temporary: files that were never finished.
        orphans: data objects of units that are not committed.
        young: how many more there are that were written a moment ago, perhaps by a run at work.
    """

    url: str
    temporary: tuple[StoredObject, ...]
    orphans: tuple[StoredObject, ...]
    young: int

    @property
    def num_bytes(self) -> int:
        """How much they hold."""
        return sum(entry.size for entry in (*self.temporary, *self.orphans))

    def remove(self) -> int:
        """Remove them, and return how many; one that a run has committed meanwhile stays.

        Raises:
            StoreError: the store cannot be written.
        """
        objects = open_objects(self.url)
        removed = sum(_remove(objects, entry.path) for entry in self.temporary)
        committed = _committed_paths(objects)
        removed += sum(
            _remove(objects, entry.path, keep=True) for entry in self.orphans if entry.path not in committed
        )
        return removed


def find_garbage(url: str | Path, *, min_age: float) -> Garbage:
    """Find what was left at least ``min_age`` seconds ago.

    Only files that a writer of this format makes are ever named: whatever else is in the folder is not ours.

    Raises:
        StoreError: there is no cache.
        ConfigError: the address is one to read only.
        CorruptChunkError: a commit record is damaged, so nobody knows what it names.
    """
    objects = open_objects(url)
    demand_writable(objects)
    grids = tuple(f"{spec.path}/c/" for spec in Layout.of(read_manifest(objects).identity).arrays())
    latest = time.time() - min_age
    # Objects first, records second: what is committed in between is not taken for an orphan.
    entries = [entry for entry in objects.list("") if entry.path.startswith(grids)]
    committed = _committed_paths(objects)
    orphans = [entry for entry in entries if entry.path not in committed]
    temporary = list(objects.leftovers())
    old_orphans = tuple(entry for entry in orphans if entry.modified <= latest)
    old_temporary = tuple(entry for entry in temporary if entry.modified <= latest)
    young = len(orphans) + len(temporary) - len(old_orphans) - len(old_temporary)
    return Garbage(str(url), old_temporary, old_orphans, young)


def _committed_paths(objects: ObjectStore) -> set[str]:
    return {entry.path for record in all_records(objects) for entry in record.objects}


def _remove(objects: ObjectStore, path: str, *, keep: bool = False) -> bool:
    """Remove one object; with ``keep``, put it back if a run has named it in a record meanwhile."""
    try:
        data = objects.get(path) if keep else b""
        objects.delete(path)
    except FileNotFoundError:
        return False
    if keep and path in _committed_paths(objects):
        if not objects.put_new(path, data) and objects.get(path) != data:
            raise CorruptChunkError(
                f"{path} in {objects.url} was written by two runs while it was removed; verify it"
            )
        return False
    return True
