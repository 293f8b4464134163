"""A shard in a bucket: the server here is a real one."""

import os
import pickle
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcache.data import remote_shard
from kdcache.data.remote_shard import RemoteShard, demand_readable
from kdcache.errors import ConfigError, ShardError
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.s3 import BUCKET, S3Server, moto_server

PIECE = 4096
DATA = np.random.default_rng(0).bytes(5 * PIECE + 100)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    monkeypatch.setattr(remote_shard, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(remote_shard, "_NEAR_BYTES", 100)
    with flaky_proxy(server.endpoint) as running:
        for name, value in (server.environment | {"AWS_ENDPOINT_URL": running.endpoint}).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def url(server: S3Server, proxy: FlakyProxy, request: pytest.FixtureRequest) -> str:
    name = f"{request.node.originalname}-{secrets.token_hex(4)}/a.tar"
    put(server, name, DATA)
    return f"s3://{BUCKET}/{name}"


def put(server: S3Server, name: str, data: bytes) -> None:
    server.client().put_object(Bucket=BUCKET, Key=name, Body=data)


def key_of(url: str) -> dict[str, Any]:
    return {"Bucket": BUCKET, "Key": url.removeprefix(f"s3://{BUCKET}/")}


def ranges(proxy: FlakyProxy) -> list[str]:
    return [part.removeprefix("bytes=") for method, _, part in proxy.requests if method == "GET"]


def test_a_pass_over_the_headers_asks_for_each_piece_once(url: str, proxy: FlakyProxy) -> None:
    data = RemoteShard.at(url).headers()
    found = b"".join(data[start : start + 512] for start in range(0, len(data), 512))
    assert (found, data[len(data) :]) == (DATA, b"")
    assert ranges(proxy) == [f"{n * PIECE}-{min((n + 1) * PIECE, len(DATA)) - 1}" for n in range(6)]


def test_a_pass_over_the_headers_leaves_out_what_is_in_no_piece_of_interest(
    url: str, proxy: FlakyProxy
) -> None:
    data = RemoteShard.at(url).headers()
    assert (data[0:512], data[5 * PIECE : 5 * PIECE + 9]) == (DATA[:512], DATA[5 * PIECE :][:9])
    assert len(ranges(proxy)) == 2


def test_samples_are_read_in_pieces_that_are_asked_for_once(url: str, proxy: FlakyProxy) -> None:
    reader = RemoteShard.at(url).opened()
    spans = [(0, 10), (PIECE - 5, 10), (2 * PIECE - 1, PIECE + 2), (5 * PIECE, 100), (7, 0)]
    for _ in range(3):
        assert reader.read(spans) == [DATA[start : start + size] for start, size in spans]
    # and the next one, when reading went forward
    assert len(ranges(proxy)) == len(set(ranges(proxy))) <= 6


def test_a_sample_alone_is_one_request(url: str, proxy: FlakyProxy) -> None:
    reader = RemoteShard.at(url).opened(alone=True)
    assert reader.read([(600, 20), (520, 10)]) == [DATA[600:620], DATA[520:530]]
    assert ranges(proxy) == ["520-619"]
    assert reader.read([(600, 20), (5 * PIECE, 10), (9, 0)]) == [DATA[600:620], DATA[5 * PIECE :][:10], b""]
    assert ranges(proxy)[1:] == ["600-619", f"{5 * PIECE}-{5 * PIECE + 9}"]


def test_a_fork_and_a_copy_read_the_same(url: str, proxy: FlakyProxy) -> None:
    shard = RemoteShard.at(url)
    reader = shard.opened(alone=True)
    assert reader.read([(0, 9)]) == [DATA[:9]]
    child = os.fork()
    if child == 0:
        copy = pickle.loads(pickle.dumps(shard))  # noqa: S301
        is_same = copy == shard and copy.opened().read([(8, 9)]) == reader.read([(8, 9)]) == [DATA[8:17]]
        os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "later",
    [DATA[::-1], DATA[:-PIECE], DATA[:10], DATA + b"0"],
    ids=["other bytes", "cut", "cut before what is asked for", "longer"],
)
def test_another_version_is_refused(url: str, server: S3Server, later: bytes) -> None:
    shard = RemoteShard.at(url)
    server.client().put_object(Body=later, **key_of(url))
    message = rf"the shard {url} was changed while it was in use: it has {len(later):,} bytes .* it had 20,580 bytes"
    with pytest.raises(ShardError, match=message):
        shard.opened().read([(4 * PIECE, 10)])
    with pytest.raises(ShardError, match=message):
        shard.opened(alone=True).read([(4 * PIECE, 10)])
    assert RemoteShard.at(url).stamp != shard.stamp
    server.client().put_object(Body=DATA, **key_of(url))
    assert RemoteShard.at(url).stamp == shard.stamp
    assert shard.opened().read([(4 * PIECE, 10)]) == [DATA[4 * PIECE :][:10]]


def test_another_version_is_refused_where_a_helper_asks(url: str, server: S3Server) -> None:
    shard = RemoteShard.at(url)
    server.client().put_object(Body=DATA[:-1], **key_of(url))
    child = os.fork()
    if child == 0:
        try:
            shard.opened().read([(0, 10)])
        except ShardError as error:
            os._exit(0 if "was changed while it was in use" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_shard_that_is_not_there_is_named(url: str, server: S3Server) -> None:
    with pytest.raises(ShardError, match=rf"cannot read the shard {url}x: there is none; check the address"):
        RemoteShard.at(f"{url}x")
    shard = RemoteShard.at(url)
    server.client().delete_object(**key_of(url))
    with pytest.raises(ShardError, match=rf"the shard {url}, which was there before, is gone; put it back"):
        shard.opened().read([(0, 1)])


def test_a_server_that_says_nothing_is_an_error_in_time(
    url: str, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "0.5")
    proxy.share, proxy.faults = 1.0, ("reset before",)
    with pytest.raises(
        ShardError, match=rf"cannot read a shard: cannot look up {url}: .*repeated for 0\.5 s"
    ):
        RemoteShard.at(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("pipe:curl -H 'Bearer 1' x", r"from pipe:\.\.\.: it is a command, and none is run"),
        (
            "s3://b/train-*.tar",
            r"from s3://b/train-\*\.tar: a remote address takes no \* or \?, and no query",
        ),
        (
            "https://h/a.tar?token=1",
            r"from https://h/a\.tar: a remote address takes no \* or \?, and no query",
        ),
        ("s3://b", r"from s3://b: it names no file; write s3://"),
        ("s3://b/", r"from s3://b/: it names no file"),
        ("ftp://h/a.tar", r"from ftp://h: this version opens no shards at ftp:// addresses; copy them"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_asked(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        demand_readable(url)
    assert "token=1" not in str(caught.value)


def test_pieces_of_a_version_have_names_of_their_own(url: str, tmp_path: Path) -> None:
    shard = RemoteShard.at(url)
    names = {
        shard.piece_name(0),
        shard.piece_name(1),
        RemoteShard(url, shard.size, "x", shard.pieces).piece_name(0),
    }
    assert len(names) == 3
    assert all(len(name) < 60 and "/" not in name for name in names)
