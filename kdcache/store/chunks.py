"""One chunk's bytes to an array: a small, strict reader of just the codecs that format 1 uses.

A chunk is a Blosc frame and its crc32c. Nothing is decompressed before the checksum fits and the frame
says the size that the metadata promises.
"""

import struct

import google_crc32c
import numpy as np
from numcodecs import blosc  # type: ignore[attr-defined]
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError

__all__ = ["decode_chunk", "decode_index", "decode_texts", "index_bytes"]

Index = NDArray[np.uint64]

_BLOSC_HEADER = struct.Struct("<BBBBIII")
_LARGEST_TEXTS = 1 << 28

# Blosc's thread pool does not survive a fork, and loader workers are one reader each.
blosc.use_threads = False


def index_bytes(num_chunks: int) -> int:
    """Return the size of the index at the start of an object with several chunks."""
    return 16 * num_chunks + 4


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
    values = np.empty(shape, dtype=np.dtype(dtype).newbyteorder("<"))
    frame = _frame(data)
    if _decoded_bytes(frame) != values.nbytes:
        raise CorruptChunkError(f"a chunk would decode to {_decoded_bytes(frame)} bytes, not {values.nbytes}")
    _decompress(frame, values)
    return values


def decode_texts(data: bytes, num_rows: int) -> tuple[str, ...]:
    """Return one chunk of strings (codec ``vlen-utf8``).

    Raises:
        CorruptChunkError: it fails its checksum, or does not hold ``num_rows`` strings.
    """
    frame = _frame(data)
    size = _decoded_bytes(frame)
    if size > _LARGEST_TEXTS:
        raise CorruptChunkError(
            f"a chunk of keys would decode to {size:,} bytes, more than {_LARGEST_TEXTS:,}"
        )
    texts = np.empty(size, dtype=np.uint8)
    _decompress(frame, texts)
    return _split_texts(texts.tobytes(), num_rows)


def _checked(data: bytes, what: str) -> bytes:
    body, checksum = data[:-4], data[-4:]
    if len(checksum) < 4 or google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise CorruptChunkError(f"{what} fails its crc32c")
    return body


def _frame(data: bytes) -> bytes:
    frame = _checked(data, "a chunk")
    if len(frame) < _BLOSC_HEADER.size or _BLOSC_HEADER.unpack_from(frame)[6] != len(frame):
        raise CorruptChunkError("a chunk is not one Blosc frame")
    return frame


def _decoded_bytes(frame: bytes) -> int:
    size: int = _BLOSC_HEADER.unpack_from(frame)[4]
    return size


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
