"""Reading samples by index."""

import pickle
from pathlib import Path

import pytest

from kdcache.data.index import index_shard
from kdcache.data.shards import NO_LABEL, ShardReader
from kdcache.errors import ShardError
from tests.support.broken_shards import cut
from tests.support.shards import write_members


def reader_of(tmp_path: Path, label: bytes | None, *, num_classes: int | None = 10) -> ShardReader:
    members = [("a/1.jpg", b"image")] + ([] if label is None else [("a/1.cls", label)])
    return ShardReader(index_shard(str(write_members(tmp_path / "t.tar", members))), num_classes=num_classes)


@pytest.mark.parametrize(
    ("text", "label"), [(b"7", 7), (b" 7\n", 7), (b"+7", 7), (b"007", 7), (None, NO_LABEL)]
)
def test_a_label_is_an_integer_as_text(tmp_path: Path, text: bytes | None, label: int) -> None:
    raw = reader_of(tmp_path, text).read(0)
    assert (raw.key, raw.encoded, raw.ext, raw.label) == ("a/1", b"image", "jpg", label)


@pytest.mark.parametrize("text", [b"", b"cat", b"1.0", b"-1", b"10", b"1 2", b"\xff", b"1_0"])
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ShardError, match=r"t\.tar: a/1\.cls holds '.*', expected a class number from 0 to 9"):
        reader_of(tmp_path, text).read(0)


def test_without_a_class_count_labels_are_not_bounded(tmp_path: Path) -> None:
    assert reader_of(tmp_path, b"21840", num_classes=None).label(0) == 21840


def test_a_reader_travels_without_its_file(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, b"3")
    reader.read(0)
    assert pickle.loads(pickle.dumps(reader)).read(0).label == 3  # noqa: S301


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, size: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    reader = reader_of(tmp_path, b"3")
    monkeypatch.setattr("os.pread", fail)
    with pytest.raises(
        ShardError, match=r"cannot read 5 bytes at 512 of the shard .*t\.tar: Input/output error"
    ):
        reader.read(0)


def test_a_shard_that_got_shorter_or_is_gone_is_refused(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, b"3")
    cut(tmp_path / "t.tar", 514)
    with pytest.raises(ShardError, match=r"got shorter while it was in use \(2 of 5 bytes at 512\)"):
        reader.read(0)
    gone = ShardReader(reader.index)
    (tmp_path / "t.tar").unlink()
    with pytest.raises(ShardError, match=r"cannot open the shard .*t\.tar, which was indexed before"):
        gone.read(0)
