"""A cache in an object store: the same bytes as on a disk, whatever the network does."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import StoreError
from kdcache.precompute import extension_of, precompute
from kdcache.store import open_cache
from kdcache.store.garbage import find_garbage
from kdcache.store.verify import verify
from tests.support.flaky_proxy import flaky_proxy
from tests.support.precompute_runs import TINY, config_for, data_objects, invoke, start, words
from tests.support.s3 import SERVERS, S3Server
from tests.support.shards import write_shards

SLOW = "tests.support.teachers:slow_cnn"


# What the network does is the proxy's doing: one kind of server behind it is enough.
SEAWEEDFS_ALONE = pytest.mark.parametrize("server", ["seaweedfs"], indirect=True)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: S3Server) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"{request.node.originalname}/c.zarr"


def _config(prefix: str, shards: list[str], **changes: Any) -> Any:
    return config_for(f"s3://caches/{prefix}", shards, **changes)


def _data(server: S3Server, prefix: str) -> dict[str, bytes]:
    return {path: data for path, data in server.objects(prefix).items() if "/c/" in path}


def _local(tmp_path: Path, shards: list[str], **changes: Any) -> tuple[str, dict[str, bytes]]:
    precompute(config_for(tmp_path / "local.zarr", shards, **changes), quiet=True)
    return open_cache(tmp_path / "local.zarr").content_id(), data_objects(tmp_path / "local.zarr")


def test_a_cache_in_a_bucket_has_the_bytes_of_one_on_a_disk(
    tmp_path: Path, shards: list[str], server: S3Server, prefix: str
) -> None:
    report = precompute(_config(prefix, shards), quiet=True)
    content_id, data = _local(tmp_path, shards)
    assert report.units == 6
    assert open_cache(f"s3://caches/{prefix}").content_id() == content_id
    assert _data(server, prefix) == data
    assert verify(f"s3://caches/{prefix}").units == 15
    assert precompute(_config(prefix, shards), quiet=True).units == 0
    assert find_garbage(f"s3://caches/{prefix}", min_age=0.0).num_bytes == 0
    shown = invoke(["info", f"s3://caches/{prefix}"])
    assert shown.exit_code == 0, shown.stderr


def test_a_cache_in_a_bucket_grows_in_place(
    tmp_path: Path, shards: list[str], server: S3Server, prefix: str
) -> None:
    precompute(_config(prefix, shards), quiet=True)
    before = _data(server, prefix)
    settings = {
        "shards": shards,
        "cache": f"s3://caches/{prefix}",
        "teachers": [{"model": TINY}],
        "views": 8,
        "readers": 0,
        "device": "cpu",
    }
    precompute(extension_of(settings, where="test"), grow=True, quiet=True)
    content_id, data = _local(tmp_path, shards, views=8)
    after = _data(server, prefix)
    assert {path: after[path] for path in before} == before
    assert after == data
    assert open_cache(f"s3://caches/{prefix}").content_id() == content_id


@SEAWEEDFS_ALONE
def test_a_network_that_fails_every_third_request_loses_nothing(
    tmp_path: Path,
    shards: list[str],
    server: S3Server,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with flaky_proxy(server.endpoint, share=0.35, seed=1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        precompute(_config(prefix, shards), quiet=True)
        assert sum(count for kind, count in proxy.counts.items() if kind != "none") > 10
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert _data(server, prefix) == _local(tmp_path, shards)[1]
    verify(f"s3://caches/{prefix}")


@SEAWEEDFS_ALONE
@pytest.mark.parametrize("fault", ["down", "silent"])
def test_a_server_that_fails_for_good_is_a_clear_error_and_the_run_can_go_on(
    shards: list[str], server: S3Server, prefix: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{fault}/{prefix}"
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "2")
    with flaky_proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        process = start(words(f"s3://caches/{prefix}", shards, "--teacher", SLOW))
        _wait_for_a_unit(server, prefix)
        if fault == "down":
            proxy.share = 1.0
        else:
            proxy.silent = 60.0
        started = time.monotonic()
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 3, stderr
    assert re.search(rf"cannot (read|write|look up) s3://caches/{prefix}/", stderr), stderr
    assert "what is committed already is safe" in stderr
    assert "Traceback" not in stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.delenv("KDCACHE_REMOTE_TIMEOUT")
    report = precompute(_config(prefix, shards, teachers=[{"model": SLOW}]), quiet=True)
    assert report.units_before > 0
    verify(f"s3://caches/{prefix}")


@SEAWEEDFS_ALONE
def test_a_signal_is_heard_while_the_server_says_nothing(
    shards: list[str], server: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky_proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        process = start(words(f"s3://caches/{prefix}", shards, "--teacher", SLOW))
        _wait_for_a_unit(server, prefix)
        proxy.silent = 120.0
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 5, stderr
    assert "stopped by SIGTERM" in stderr


def _wait_for_a_unit(server: S3Server, prefix: str) -> None:
    deadline = time.monotonic() + 60
    while not any(path.startswith("commits/slow_cnn") for path in server.paths(prefix)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_bucket_that_is_not_there_is_named(shards: list[str]) -> None:
    config = config_for("s3://no-such-bucket-here/c.zarr", shards)
    with pytest.raises(StoreError, match="no-such-bucket-here"):
        precompute(config, quiet=True)
