"""The kept index: whole and unchanged, or taken for none."""

from pathlib import Path

import numpy as np
import pytest

from kdcache.data.index_file import IndexContents, read_index_file, write_index_file
from kdcache.data.samples import SAMPLE_DTYPE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = np.zeros(3, dtype=SAMPLE_DTYPE)
    table["image_size"] = [10, 20, 30]
    keys = b"abcdef"
    contents = IndexContents(
        stamp=[100, 200],
        digest="d" * 64,
        table=table,
        key_ends=np.array([1, 3, 6], dtype=np.uint64),
        keys=np.frombuffer(keys, dtype=np.uint8),
    )
    write_index_file(tmp_path / "sub" / "a.idx", contents)
    return tmp_path / "sub" / "a.idx"


def test_what_is_written_is_read(path: Path) -> None:
    contents = read_index_file(path)
    assert contents is not None
    assert contents.stamp == [100, 200]
    assert contents.table["image_size"].tolist() == [10, 20, 30]
    assert contents.keys.tobytes() == b"abcdef"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.idx"]


def test_a_cut_file_is_none(path: Path) -> None:
    data = path.read_bytes()
    last_key_byte = data.index(b"abcdef") + 6
    for size in range(last_key_byte):
        path.write_bytes(data[:size])
        assert read_index_file(path) is None


def test_a_changed_array_is_found(path: Path) -> None:
    data = path.read_bytes()
    start = data.index(b"\n") + 1
    for position in range(start, start + 3 * SAMPLE_DTYPE.itemsize):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert read_index_file(path) is None


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[1]\n", b"\xff\n", b'{"magic": "kdcache shard index 1"}\n'])
def test_another_file_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.idx").write_bytes(data)
    assert read_index_file(tmp_path / "b.idx") is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_index_file(tmp_path / "none.idx") is None
