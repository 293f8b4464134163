"""JSON documents of a cache: read with a size limit, refused with a reason."""

import json
from typing import Any

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.objects import ObjectStore

__all__ = [
    "ARRAY_LIMIT",
    "INDEX_LIMIT",
    "RECORD_LIMIT",
    "ROOT_LIMIT",
    "pretty_json",
    "read_document",
    "read_limited",
]

ARRAY_LIMIT = 1 << 20
RECORD_LIMIT = 1 << 20
ROOT_LIMIT = 1 << 26
INDEX_LIMIT = 1 << 28


def read_limited(objects: ObjectStore, path: str, *, limit: int) -> bytes:
    """Return an object of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: it is larger, as no cache of ours is.
    """
    size = objects.size(path)
    if size > limit:
        raise StoreError(
            f"{path} in {objects.url} has {size:,} bytes, but such a document has at most {limit:,}; "
            "do not use this cache, fetch it again from where it was published"
        )
    return objects.get(path)


def read_document(objects: ObjectStore, path: str, *, limit: int) -> Any:
    """Return a JSON document of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: it is larger.
        CorruptChunkError: it is not JSON.
    """
    data = read_limited(objects, path, limit=limit)
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CorruptChunkError(
            f"{path} in {objects.url} is not a JSON document ({reason}); "
            "the file is damaged: fetch or restore it"
        ) from error


def pretty_json(value: Any) -> bytes:
    """Return the JSON text that metadata is stored as: two spaces of indent, fields in the order given."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
