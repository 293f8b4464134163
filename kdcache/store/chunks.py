"""One chunk's bytes to an array and back: small and strict, just the codecs that format 1 uses.

A chunk is a Blosc frame and its crc32c. In reading, nothing is allocated or decompressed before the checksum fits and
the frame's header says what the metadata promises: zstd, bitshuffle, the items' size and the decoded size. Other
compressors are never run.
"""

import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Final

import google_crc32c
import numpy as np
from numcodecs import blosc  # type: ignore[attr-defined]
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError
from kdcache.store.arrays import COMPRESSION_LEVEL, index_bytes, largest_texts

__all__ = [
    "Index",
    "decode_chunk",
    "decode_index",
    "decode_texts",
    "encode_chunk",
    "encode_index",
    "encode_texts",
]

Index = NDArray[np.uint64]

_BLOSC_HEADER = struct.Struct("<BBBBIII")
_FRAME_VERSION: Final = 2
_ZSTD_BITSHUFFLE: Final = 0x84
# Whether the bytes are stored as they are, and whether blocks are split by byte: Blosc decides.
_FREE_FLAGS: Final = 0x12
_LARGEST_BLOCK: Final = 1 << 24

# Blosc's thread pool does not survive a fork, and loader workers are one reader each; with more threads it writes its
# blocks in the order in which they happen to finish.
blosc.use_threads = False


def decode_index(data: bytes, num_chunks: int) -> Index:
    """Return (offset, size) of each chunk of an object as uint64 (num_chunks, 2).

    Raises:
        CorruptChunkError: the index is short or fails its checksum.
    """
    if len(data) != index_bytes(num_chunks):
        raise CorruptChunkError(f"its index has {len(data)} bytes, not {index_bytes(num_chunks)}")
    return np.frombuffer(_checked(data, "its index"), dtype="<u8").reshape(num_chunks, 2)


def decode_chunk(data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return one chunk of numbers.

    Raises:
        CorruptChunkError: it fails its checksum, or is not of this dtype and shape.
    """
    items = np.dtype(dtype).newbyteorder("<")
    expected = prod(shape) * items.itemsize
    frame, size = _frame(data, items.itemsize)
    if size != expected:
        raise CorruptChunkError(f"a chunk would decode to {size:,} bytes, not {expected:,}")
    values = np.empty(shape, dtype=items)
    _decompress(frame, values)
    return values


def decode_texts(data: bytes, num_rows: int) -> tuple[str, ...]:
    """Return one chunk of strings (codec ``vlen-utf8``).

    Raises:
        CorruptChunkError: it fails its checksum, or does not hold ``num_rows`` strings.
    """
    frame, size = _frame(data, 1)
    if size > largest_texts(num_rows):
        raise CorruptChunkError(
            f"a chunk of {num_rows:,} keys would decode to {size:,} bytes, more than {largest_texts(num_rows):,}"
        )
    texts = np.empty(size, dtype=np.uint8)
    _decompress(frame, texts)
    return _split_texts(texts.tobytes(), num_rows)


def encode_chunk(values: NDArray[np.generic], dtype: str) -> bytes:
    """Return one chunk of numbers as bytes."""
    return _with_checksum(_compressed(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))))


def encode_index(sizes: Sequence[int]) -> bytes:
    """Return the index of an object whose chunks have these sizes and follow each other."""
    ends = index_bytes(len(sizes)) + np.cumsum(sizes)
    return _with_checksum(np.stack([ends - sizes, sizes], axis=1).astype("<u8").tobytes())


def encode_texts(texts: Iterable[str]) -> bytes:
    """Return one chunk of strings (codec ``vlen-utf8``) as bytes."""
    encoded = [text.encode() for text in texts]
    parts = [struct.pack("<I", len(encoded))]
    for text in encoded:
        parts += (struct.pack("<I", len(text)), text)
    return _with_checksum(_compressed(b"".join(parts)))


def _compressed(data: NDArray[np.generic] | bytes) -> bytes:
    frame: bytes = blosc.compress(data, b"zstd", COMPRESSION_LEVEL, blosc.BITSHUFFLE)
    return frame


def _with_checksum(body: bytes) -> bytes:
    checksum: int = google_crc32c.value(body)
    return body + checksum.to_bytes(4, "little")


def _checked(data: bytes, what: str) -> bytes:
    body, checksum = data[:-4], data[-4:]
    if len(checksum) < 4 or google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise CorruptChunkError(f"{what} fails its crc32c")
    return body


def _frame(data: bytes, itemsize: int) -> tuple[bytes, int]:
    """Return a Blosc frame such as we write, and the size that it says it decodes to."""
    frame = _checked(data, "a chunk")
    if len(frame) < _BLOSC_HEADER.size:
        raise CorruptChunkError("a chunk is not one Blosc frame")
    version, _, flags, typesize, size, block_size, frame_size = _BLOSC_HEADER.unpack_from(frame)
    if frame_size != len(frame):
        raise CorruptChunkError("a chunk is not one Blosc frame")
    if version != _FRAME_VERSION or flags & ~_FREE_FLAGS != _ZSTD_BITSHUFFLE or typesize != itemsize:
        raise CorruptChunkError(
            f"a chunk is compressed in another way than by zstd and bitshuffle of {itemsize} bytes "
            f"(Blosc version {version}, flags {flags:#04x}, items of {typesize} bytes)"
        )
    if not 0 < block_size <= min(size, _LARGEST_BLOCK):
        raise CorruptChunkError(f"a chunk of {size:,} bytes says that its blocks have {block_size:,}")
    return frame, size


def _decompress(frame: bytes, values: NDArray[np.generic]) -> None:
    try:
        blosc.decompress(frame, values)
    except (RuntimeError, ValueError) as error:
        raise CorruptChunkError(f"a chunk cannot be decompressed ({error})") from error


def _split_texts(data: bytes, num_rows: int) -> tuple[str, ...]:
    texts = []
    try:
        (count,) = struct.unpack_from("<I", data)
        position = 4
        for _ in range(num_rows):
            (size,) = struct.unpack_from("<I", data, position)
            texts.append(data[position + 4 : position + 4 + size].decode())
            position += 4 + size
    except (struct.error, UnicodeDecodeError) as error:
        raise CorruptChunkError(f"a chunk of keys is not vlen-utf8 ({error})") from error
    if count != num_rows or position != len(data):
        raise CorruptChunkError(f"a chunk of keys holds {count} strings in {len(data)} bytes, not {num_rows}")
    return tuple(texts)
