"""A shard's bytes: what is a file here, and what is at an address."""

import pickle
from pathlib import Path

import pytest

from kdcache.data.shard_file import LocalShard, is_remote, shard_file
from kdcache.errors import ShardError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a.tar").write_bytes(bytes(range(100)))
    return tmp_path / "a.tar"


@pytest.mark.parametrize("url", ["s3://b/a.tar", "https://h/a.tar", "pipe:cat a.tar"])
def test_a_scheme_makes_an_address(url: str) -> None:
    assert is_remote(url)


@pytest.mark.parametrize("url", ["a.tar", "/a.tar", "file:///a.tar", "C:a.tar"])
def test_a_path_is_a_file(url: str) -> None:
    assert not is_remote(url)


def test_a_file_is_read_where_it_is_asked_for(file: Path) -> None:
    shard = shard_file(str(file))
    assert shard.opened().read([(3, 4), (0, 0), (98, 2)]) == [bytes([3, 4, 5, 6]), b"", bytes([98, 99])]
    assert shard.opened(alone=True).read([(1, 1)]) == [b"\x01"]
    headers = shard.headers()
    assert (len(headers), headers[95:200], headers[100:101], headers[:2]) == (
        100,
        bytes(range(95, 100)),
        b"",
        b"\0\1",
    )


def test_a_file_is_told_from_a_later_one(file: Path) -> None:
    shard = shard_file(str(file))
    copy = pickle.loads(pickle.dumps(shard))  # noqa: S301
    assert (copy.stamp, copy.address, copy.size) == (shard.stamp, str(file), 100)
    wire = pickle.dumps(shard)
    file.write_bytes(b"other")
    assert pickle.loads(wire).stamp != shard.stamp  # noqa: S301


def test_a_file_that_is_gone_is_named(file: Path) -> None:
    shard = LocalShard(str(file))
    file.unlink()
    for read in (shard.headers, lambda: shard.opened().read([(0, 1)]), lambda: shard_file(str(file))):
        with pytest.raises(ShardError, match=r"a\.tar"):
            read()
