"""What must stay true of a cache however often its writers are killed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdcache.digest import sha256_hex
from kdcache.store.commits import CommitRecord, load_record
from kdcache.store.documents import RECORD_LIMIT, read_limited
from kdcache.store.garbage import find_garbage
from kdcache.store.layout import Layout, record_path
from kdcache.store.objects import open_objects
from kdcache.store.records import list_units
from kdcache.store.root import read_manifest

__all__ = ["KillLedger"]


@dataclass
class KillLedger:
    """Looks at a cache after each kill, and counts.

    Attributes:
        kills: how many there were.
        lost: committed units that went away or changed.
        torn: committed units whose objects are not what their record says.
        redone: units that were begun but not committed when a kill came: they are done again.
        most_redone: the most of them after one kill.
    """

    url: str
    kills: int = 0
    lost: int = 0
    torn: int = 0
    redone: int = 0
    most_redone: int = 0
    _records: dict[str, bytes] = field(default_factory=dict)
    _orphans: set[str] = field(default_factory=set)

    def note_kill(self) -> None:
        """Look at the cache."""
        self.kills += 1
        objects = open_objects(self.url)
        if not any(objects.list("zarr.json" if "://" in self.url else "")) and not _has_root(self.url):
            return
        units = set(list_units(objects))
        self.lost += len(self._records.keys() - units)
        for unit in units:
            data = read_limited(objects, record_path(unit), limit=RECORD_LIMIT)
            if self._records.get(unit, data) != data:
                self.lost += 1
            if unit not in self._records:
                self.torn += self._is_torn(load_record(data, where=unit))
            self._records[unit] = data
        if _has_root(self.url):
            self._count_orphans()

    def _is_torn(self, record: CommitRecord) -> bool:
        objects = open_objects(self.url)
        for entry in record.objects:
            try:
                data = objects.get(entry.path)
            except FileNotFoundError:
                return True
            if (len(data), sha256_hex(data)) != (entry.size, entry.sha256):
                return True
        return False

    def _count_orphans(self) -> None:
        owners = _owners(self.url)
        orphans = {owners[entry.path] for entry in find_garbage(self.url, min_age=-3600.0).orphans}
        fresh = orphans - self._orphans
        self.redone += len(fresh)
        self.most_redone = max(self.most_redone, len(fresh))
        self._orphans = orphans

    @property
    def num_units(self) -> int:
        """Units that are committed."""
        return len(self._records)

    def summary(self) -> str:
        """Say the counts."""
        return (
            f"{self.kills} kills, {self.num_units} units committed when the last one came: {self.lost} lost, "
            f"{self.torn} torn, {self.redone} redone (at most {self.most_redone} after one kill)"
        )


def _has_root(url: str) -> bool:
    try:
        open_objects(url).size("zarr.json")
    except FileNotFoundError:
        return False
    return True


def _owners(url: str) -> Mapping[str, str]:
    layout = Layout.of(read_manifest(open_objects(url)).identity)
    return {
        spec.object_path(*position): unit.name
        for unit in layout.units()
        for spec, position in layout.objects_of(unit)
    }
