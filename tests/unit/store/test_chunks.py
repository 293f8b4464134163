"""The chunk reader takes nothing on trust."""

import struct
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Blosc  # type: ignore[attr-defined]
from numcodecs.vlen import VLenUTF8
from numpy.typing import NDArray

from kdcache.errors import CorruptChunkError
from kdcache.store.arrays import index_bytes
from kdcache.store.chunks import decode_chunk, decode_index, decode_texts


def sealed(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(4, "little")


def compressed(data: Any) -> bytes:
    frame: bytes = Blosc("zstd", 5, Blosc.BITSHUFFLE).encode(data)
    return frame


VALUES = np.arange(600, dtype="<u2").reshape(6, 100)
CHUNK = sealed(compressed(VALUES))
KEYS = np.array(["a", "", "né/1"], dtype=object)
TEXTS = sealed(compressed(np.frombuffer(VLenUTF8().encode(KEYS), dtype=np.uint8)))


def test_a_chunk_is_decoded() -> None:
    np.testing.assert_array_equal(decode_chunk(CHUNK, "uint16", (6, 100)), VALUES)


def test_texts_are_decoded() -> None:
    assert decode_texts(TEXTS, 3) == ("a", "", "né/1")


@pytest.mark.parametrize("data", [CHUNK, TEXTS], ids=["numbers", "texts"])
@given(st.data())
def test_every_flipped_bit_is_found(data: bytes, draw: st.DataObject) -> None:
    bit = draw.draw(st.integers(0, 8 * len(data) - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptChunkError, match="fails its crc32c"):
        decode_chunk(bytes(damaged), "uint16", (6, 100))
    with pytest.raises(CorruptChunkError, match="fails its crc32c"):
        decode_texts(bytes(damaged), 3)


@given(st.integers(0, len(CHUNK) - 1))
def test_every_truncation_is_found(size: int) -> None:
    with pytest.raises(CorruptChunkError, match=r"a chunk (fails its crc32c|is not one Blosc frame)"):
        decode_chunk(CHUNK[:size], "uint16", (6, 100))


def with_header(values: NDArray[Any] = VALUES, **fields: int) -> bytes:
    """Return a chunk whose Blosc header says something else."""
    places = {"version": 0, "flags": 2, "typesize": 3, "nbytes": 4, "blocksize": 8, "cbytes": 12}
    frame = bytearray(compressed(values))
    for name, value in fields.items():
        struct.pack_into("<I" if places[name] > 3 else "<B", frame, places[name], value)
    return sealed(bytes(frame))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_header(nbytes=2**31 - 20), "would decode to 2,147,483,628 bytes, not 1,200"),
        (with_header(nbytes=1198, blocksize=1198), "would decode to 1,198 bytes, not 1,200"),
        (with_header(cbytes=7), "is not one Blosc frame"),
        (with_header(version=3), "compressed in another way .*Blosc version 3"),
        (with_header(flags=0x34), "compressed in another way .*flags 0x34"),
        (with_header(flags=0x91), "compressed in another way .*flags 0x91"),
        (with_header(typesize=1), "compressed in another way .*items of 1 bytes"),
        (with_header(blocksize=0), "a chunk of 1,200 bytes says that its blocks have 0"),
        (with_header(blocksize=2**31 - 1), "a chunk of 1,200 bytes says that its blocks have 2,147,483,647"),
        (sealed(Blosc("lz4", 5, Blosc.BITSHUFFLE).encode(VALUES)), "compressed in another way"),
        (sealed(Blosc("zstd", 5, Blosc.SHUFFLE).encode(VALUES)), "compressed in another way"),
        (sealed(b""), "is not one Blosc frame"),
        (sealed(compressed(VALUES) + b"more"), "is not one Blosc frame"),
        (sealed(compressed(VALUES)[:16] + b"\xff" * (len(CHUNK) - 20)), "cannot be decompressed"),
    ],
)
def test_a_well_sealed_but_hostile_frame_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CorruptChunkError, match=message):
        decode_chunk(data, "uint16", (6, 100))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\0", "not vlen-utf8"),
        (struct.pack("<II", 1, 2**31) + b"a", "holds 1 strings"),
        (struct.pack("<II", 2, 1) + b"a", "holds 2 strings"),
        (struct.pack("<II", 1, 1) + b"ab", "in 10 bytes"),
        (struct.pack("<II", 1, 1) + b"\xff", "not vlen-utf8"),
    ],
)
def test_hostile_texts_are_refused(raw: bytes, message: str) -> None:
    data = sealed(compressed(np.frombuffer(raw, dtype=np.uint8)))
    with pytest.raises(CorruptChunkError, match=message):
        decode_texts(data, 1)


def test_texts_of_absurd_size_are_not_decompressed() -> None:
    with pytest.raises(CorruptChunkError, match="would decode to 2,000,000,000 bytes"):
        decode_texts(with_header(np.zeros(99, dtype=np.uint8), nbytes=2_000_000_000), 1)


def test_an_index_is_decoded_and_checked() -> None:
    data = sealed(np.array([[36, 10], [46, 5]], dtype="<u8").tobytes())
    assert len(data) == index_bytes(2)
    assert decode_index(data, 2).tolist() == [[36, 10], [46, 5]]
    with pytest.raises(CorruptChunkError, match="index fails its crc32c"):
        decode_index(data[:-1] + b"\0", 2)
    with pytest.raises(CorruptChunkError, match="its index has 35 bytes, not 36"):
        decode_index(data[:-1], 2)
