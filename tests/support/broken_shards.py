"""Tars in every dialect, and ways to break them."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["BLOCK", "cut", "flip_bit", "header", "header_starts", "tar_bytes", "without_padding"]

BLOCK = 512


def tar_bytes(members: Sequence[tuple[str, bytes]], *, dialect: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar of (name, bytes), as Python writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header(name: str, *, size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    """Return one header block whose checksum is right, whatever else is wrong with it."""
    info = tarfile.TarInfo(name)
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT)[-BLOCK:])
    block[124:136], block[156:157] = size, kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def header_starts(data: bytes) -> Iterator[int]:
    """Yield where the headers of a sound tar begin, extended ones included."""
    position = 0
    while data[position : position + BLOCK].strip(b"\0"):
        yield position
        size = int(data[position + 124 : position + 135], 8)
        position += BLOCK + -(-size // BLOCK) * BLOCK


def without_padding(data: bytes) -> bytes:
    """Return a tar that ends with its two zero blocks."""
    *_, last = header_starts(data)
    size = int(data[last + 124 : last + 135], 8)
    return data[: last + BLOCK + -(-size // BLOCK) * BLOCK + 2 * BLOCK]


def cut(path: Path, size: int) -> None:
    """Keep the first bytes of a file."""
    with path.open("r+b") as file:
        file.truncate(size)


def flip_bit(path: Path, position: int, bit: int = 0) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
