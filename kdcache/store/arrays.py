"""One Zarr array as format 1 writes it: the shape, the codecs and the metadata that say so."""

from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np

__all__ = ["COMPRESSION_LEVEL", "LONGEST_TEXT", "ArraySpec", "grown_document", "index_bytes", "largest_texts"]

COMPRESSION_LEVEL: Final = 5

LONGEST_TEXT: Final = 1024
"""Bytes that a string may have, on average over those of a chunk."""

_FRAME_BYTES: Final = 4096
_GROWING: Final = {"aug_seed", "row"}
_LONGEST_AXIS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One Zarr array: all that its ``zarr.json`` says.

    Attributes:
        chunk: shape of what is compressed as one.
        shard: shape of one object when it holds several chunks (a Zarr shard), else None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    fill: int | str
    dimensions: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def object_shape(self) -> tuple[int, ...]:
        """Return the shape of one object."""
        return self.shard or self.chunk

    @property
    def chunks_per_object(self) -> int:
        """Return how many chunks one object holds; they follow each other on the first axis."""
        return prod(self.object_shape) // prod(self.chunk)

    @property
    def chunk_bytes(self) -> int:
        """Return the decoded size of one chunk; of strings, the largest."""
        if self.dtype == "string":
            return largest_texts(prod(self.chunk))
        return prod(self.chunk) * np.dtype(self.dtype).itemsize

    @property
    def largest_chunk(self) -> int:
        """Return the most bytes that one chunk takes as it is stored; what does not compress grows a little."""
        return self.chunk_bytes + _FRAME_BYTES

    @property
    def largest_object(self) -> int:
        """Return the most bytes that one object takes."""
        chunks = self.chunks_per_object
        return (0 if self.shard is None else index_bytes(chunks)) + chunks * self.largest_chunk

    @property
    def metadata_path(self) -> str:
        """Return the path of the array's ``zarr.json``."""
        return f"{self.path}/zarr.json"

    def object_path(self, *position: int) -> str:
        """Return the path of the object at a position on the grid of objects."""
        return f"{self.path}/c/{'/'.join(map(str, position))}"

    def document(self) -> dict[str, Any]:
        """Return the array's ``zarr.json``."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.object_shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": self.fill,
            "codecs": self._codecs() if self.shard is None else [self._sharding()],
            "attributes": self.attributes,
            "dimension_names": list(self.dimensions),
            "storage_transformers": [],
        }

    def _sharding(self) -> dict[str, Any]:
        # The index comes first because some object stores cannot read a range from the end.
        configuration = {
            "chunk_shape": list(self.chunk),
            "codecs": self._codecs(),
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "start",
        }
        return {"name": "sharding_indexed", "configuration": configuration}

    def _codecs(self) -> list[dict[str, Any]]:
        is_text = self.dtype == "string"
        itemsize = 1 if is_text else np.dtype(self.dtype).itemsize
        to_bytes: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
        if is_text:
            to_bytes = {"name": "vlen-utf8", "configuration": {}}
        elif itemsize == 1:
            to_bytes = {"name": "bytes"}
        compress = {
            "typesize": itemsize,
            "cname": "zstd",
            "clevel": COMPRESSION_LEVEL,
            "shuffle": "bitshuffle",
            "blocksize": 0,
        }
        return [to_bytes, {"name": "blosc", "configuration": compress}, {"name": "crc32c"}]


def index_bytes(num_chunks: int) -> int:
    """Return the size of the index at the start of an object with several chunks."""
    return 16 * num_chunks + 4


def largest_texts(num_rows: int) -> int:
    """Return the most bytes that ``num_rows`` strings take in ``vlen-utf8``."""
    return 4 + num_rows * (4 + LONGEST_TEXT)


def grown_document(found: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Return ``document`` in the shape of ``found`` wherever that is the same array, grown.

    Growing writes the arrays first and the root last, so an array may have more seeds and rows than the root says.

    >>> array = {"shape": [3, 2], "dimension_names": ["row", "plane"]}
    >>> grown_document(array | {"shape": [4, 2]}, array)["shape"]
    [4, 2]
    """
    shape = found.get("shape") if isinstance(found, dict) else None
    expected = document.get("shape")
    if not isinstance(shape, list) or expected is None or len(shape) != len(expected):
        return document
    if not all(type(n) is int for n in shape) or found | {"shape": expected} != document:
        return document
    axes = zip(document["dimension_names"], shape, expected, strict=True)
    grown = [max(n, least) if name in _GROWING and n <= _LONGEST_AXIS else least for name, n, least in axes]
    return document | {"shape": grown}
