"""JSON documents of a cache: read within limits, refused with a reason.

A few megabytes of text can become gigabytes of objects, and a document may name a field twice and mean something
else to each reader: neither gets past here.
"""

import json
from typing import Any, Final

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.objects import ObjectStore

__all__ = [
    "ARRAY_LIMIT",
    "INDEX_LIMIT",
    "RECORD_LIMIT",
    "ROOT_LIMIT",
    "is_readable",
    "parsed_json",
    "pretty_json",
    "read_document",
    "read_limited",
]

ARRAY_LIMIT: Final = 1 << 16
RECORD_LIMIT: Final = 1 << 16
ROOT_LIMIT: Final = 1 << 25
INDEX_LIMIT: Final = 1 << 26

_LARGEST_VALUE: Final = 3 << 27
"""Bytes that a parsed document may take: six times the largest text, three times what an index of ours takes."""

_CONTAINER_BYTES: Final = 192
_ITEM_BYTES: Final = 128
_MOST_FIELDS: Final = 4096
_DEEPEST: Final = 32


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
    # A range, because a file may be longer than it says.
    return objects.get_range(path, 0, size) if size else b""


def read_document(objects: ObjectStore, path: str, *, limit: int) -> Any:
    """Return a JSON document of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: it is larger.
        CorruptChunkError: it is not JSON.
    """
    data = read_limited(objects, path, limit=limit)
    try:
        return parsed_json(data)
    except ValueError as error:
        raise CorruptChunkError(
            f"{path} in {objects.url} is not a JSON document that a cache has ({error}); "
            "the file is damaged: fetch or restore it"
        ) from error


def parsed_json(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON text, or one that no cache has: a field is there twice, an object has thousands
            of fields, it is nested too deeply, or its value would take much more memory than its text.
    """
    if _value_bytes(data) > _LARGEST_VALUE:
        raise ValueError("it has too many values")
    try:
        value = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=_fields)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _demand_shallow(value)
    return value


def is_readable(data: bytes, *, limit: int) -> bool:
    """Tell whether a document is within the limits of whoever reads it."""
    return len(data) <= limit and _value_bytes(data) <= _LARGEST_VALUE


def pretty_json(value: Any) -> bytes:
    """Return the JSON text that metadata is stored as: two spaces of indent, fields in the order given."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _value_bytes(data: bytes) -> int:
    """Return the most bytes that the value of a JSON text can take, strings aside."""
    num_containers = data.count(b"{") + data.count(b"[")
    return num_containers * _CONTAINER_BYTES + data.count(b",") * _ITEM_BYTES


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MOST_FIELDS:
        raise ValueError(f"an object has {len(pairs):,} fields")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:80]!r} is there twice")
    return fields


def _demand_shallow(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        nodes = [
            node.values() if isinstance(node, dict) else node
            for node in level
            if isinstance(node, dict | list)
        ]
        level = [child for children in nodes for child in children]
        if not level:
            return
    raise ValueError("it is nested too deeply")
