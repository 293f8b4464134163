"""Finding commit records: by listing their folder, or from the compacted index."""

from collections.abc import Iterator

from kdcache.errors import CorruptChunkError
from kdcache.store.commits import CommitRecord, load_index, load_record
from kdcache.store.documents import INDEX_LIMIT, RECORD_LIMIT, read_limited
from kdcache.store.layout import INDEX_PATH, record_path
from kdcache.store.objects import ObjectStore

__all__ = ["all_records", "list_units", "read_index", "read_listed", "read_record"]

_FOLDER = "commits/"
_SUFFIX = ".json"


def list_units(objects: ObjectStore, kind: str = "") -> Iterator[str]:
    """Yield the names of the committed units, or of those of one kind (``samples``, ``views``, a teacher)."""
    for path, *_ in objects.list(f"{_FOLDER}{kind}"):
        if path != INDEX_PATH and path.endswith(_SUFFIX):
            yield path.removeprefix(_FOLDER).removesuffix(_SUFFIX)


def read_record(objects: ObjectStore, unit_name: str) -> CommitRecord:
    """Return one commit record.

    Raises:
        FileNotFoundError: the unit is not committed.
        CorruptChunkError: the record is damaged.
    """
    path = record_path(unit_name)
    record = load_record(read_limited(objects, path, limit=RECORD_LIMIT), where=f"{path} in {objects.url}")
    if record.unit != unit_name:
        raise CorruptChunkError(
            f"{path} in {objects.url} is damaged: it is the record of {record.unit}; fetch the cache again"
        )
    return record


def read_listed(objects: ObjectStore, unit_name: str) -> CommitRecord:
    """Return the commit record of a unit that a listing, or the index, has.

    Raises:
        CorruptChunkError: the record is damaged, or not there after all.
    """
    try:
        return read_record(objects, unit_name)
    except FileNotFoundError as error:
        raise CorruptChunkError(
            f"{record_path(unit_name)} in {objects.url} is listed, but missing; wait if the cache is being "
            "changed, else fetch it again"
        ) from error


def read_index(objects: ObjectStore) -> dict[str, CommitRecord]:
    """Return the compacted records by unit name; empty when no run has finished yet."""
    try:
        data = read_limited(objects, INDEX_PATH, limit=INDEX_LIMIT)
    except FileNotFoundError:
        return {}
    return {record.unit: record for record in load_index(data, where=f"{INDEX_PATH} in {objects.url}")}


def all_records(objects: ObjectStore) -> Iterator[CommitRecord]:
    """Yield every record sorted by unit name: from the index, and those that it does not know yet."""
    index = read_index(objects)
    for name in sorted({*index, *list_units(objects)}):
        yield index[name] if name in index else read_listed(objects, name)
