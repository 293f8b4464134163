"""Content digests that are equal on every machine.

Fast digests (xxh3) find accidents; sha256 is for what somebody might forge.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import xxhash

__all__ = ["canonical_json", "json_sha256", "sample_digest", "sha256_hex", "shard_digest", "weights_sha256"]


def sample_digest(encoded: bytes) -> int:
    """Return the uint64 digest (xxh3_64, seed 0) of one encoded image.

    >>> hex(sample_digest(b"kdcache"))
    '0x5893f1aa2d80e428'
    """
    return xxhash.xxh3_64_intdigest(encoded)


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of ``value``: sorted keys, no spaces, UTF-8, no NaN.

    Raises:
        ValueError: ``value`` holds NaN or an infinity.

    >>> canonical_json({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def json_sha256(value: Any) -> str:
    """Return the sha256 of the canonical JSON of ``value``."""
    return sha256_hex(canonical_json(value))


def shard_digest(members: Iterable[tuple[str, str, int]]) -> str:
    """Return the sha256 over the (key, extension, size) of a shard's members in tar order.

    It covers the headers only, so that a terabyte of shards is checked by reading megabytes; the bytes
    of each image have a sample digest of their own.
    """
    digest = hashlib.sha256()
    for key, ext, size in members:
        digest.update(b"%s\0%s\0%d\n" % (key.encode(), ext.encode(), size))
    return digest.hexdigest()


def weights_sha256(tensors: Iterable[tuple[str, str, tuple[int, ...], bytes]]) -> str:
    """Return the sha256 over a state dict given as (name, dtype, shape, little-endian bytes).

    The order of the entries does not matter. The dtype is NumPy's name, or ``bfloat16``.
    """
    digest = hashlib.sha256()
    for name, dtype, shape, data in sorted(tensors, key=lambda entry: entry[0]):
        digest.update(canonical_json([name, dtype, list(shape), len(data)]))
        digest.update(data)
    return digest.hexdigest()
