"""The file that an index is kept in: one line of JSON, then three aligned arrays, mapped on reading."""

import json
import mmap
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from kdcache.data.samples import SAMPLE_DTYPE

__all__ = ["IndexContents", "read_index_file", "write_index_file"]

_MAGIC = "kdcache shard index 2"
_ALIGN = 64


@dataclass(frozen=True, slots=True)
class IndexContents:
    """What an index file holds.

    Attributes:
        stamp: what the shard looked like when it was indexed: size, and modification time or a server's tag.
        digest: the shard's digest.
        table: SAMPLE_DTYPE (N,).
        key_ends: uint64 (N,), where each key ends in ``keys``.
        keys: uint8, all keys in UTF-8, one after the other.
    """

    stamp: list[int | str]
    digest: str
    table: NDArray[Any]
    key_ends: NDArray[np.uint64]
    keys: NDArray[np.uint8]


def write_index_file(path: Path, contents: IndexContents) -> None:
    """Write the file whole or not at all."""
    head = {
        "magic": _MAGIC,
        "stamp": contents.stamp,
        "digest": contents.digest,
        "num_samples": len(contents.table),
        "key_bytes": len(contents.keys),
        "arrays": _arrays_digest(contents),
    }
    line = json.dumps(head).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(line + b" " * (-(len(line) + 1) % _ALIGN) + b"\n")
            for array in (contents.table, contents.key_ends, contents.keys):
                data = array.tobytes()
                file.write(data + b"\0" * (-len(data) % _ALIGN))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_index_file(path: Path) -> IndexContents | None:
    """Map the file; None when there is none, or when it is not whole."""
    try:
        with path.open("rb") as file:
            line = file.readline(4096)
            head = json.loads(line)
            if head["magic"] != _MAGIC:
                return None
            # One map, not one an array: each holds a descriptor, and a data set may have thousands of shards.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _contents(data, head, len(line))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _arrays_digest(contents: IndexContents) -> str:
    digest = xxhash.xxh3_64()
    for array in (contents.table, contents.key_ends, contents.keys):
        digest.update(np.ascontiguousarray(array).data.cast("B"))
    return digest.hexdigest()


def _contents(data: mmap.mmap, head: dict[str, Any], start: int) -> IndexContents | None:
    num, key_bytes = head["num_samples"], head["key_bytes"]
    arrays: list[Any] = []
    position = start
    for dtype, count in ((SAMPLE_DTYPE, num), (np.dtype("<u8"), num), (np.dtype("u1"), key_bytes)):
        length = dtype.itemsize * count
        if position + length > len(data):
            return None
        arrays.append(np.frombuffer(data, dtype=dtype, count=count, offset=position))
        position += length + -length % _ALIGN
    table, key_ends, keys = arrays
    contents = IndexContents(list(head["stamp"]), str(head["digest"]), table, key_ends, keys)
    return contents if _arrays_digest(contents) == head["arrays"] else None
