"""Shards in a bucket: both stages give what they give from a disk, and ask for little."""

import itertools
import json
import math
import shutil
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdcache.data import cached_samples, pieces, remote_shard
from kdcache.data.evaluation import eval_loader
from kdcache.data.index import index_shard
from kdcache.data.loader import distill_loader
from kdcache.errors import ManifestMismatchError, ShardError
from kdcache.precompute import extension_of, precompute
from kdcache.store import open_cache
from kdcache.train import train
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.precompute_runs import TINY, config_for, data_objects, invoke
from tests.support.s3 import BUCKET, S3Server, seaweed_server
from tests.support.shards import write_shard
from tests.support.training import losses_of, small_cache, small_config

Made = tuple[list[str], Path]

PIECE = 1 << 14
URLS = f"s3://{BUCKET}/data/train-{{000..001}}.tar"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return (shards, cache): 6 blocks of 8 samples under 4 seeds."""
    return small_cache(tmp_path_factory.mktemp("made"), rows_per_block=8, seeds_per_group=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Iterator[S3Server]:
    with seaweed_server(tmp_path_factory.mktemp("weed")) as running:
        _upload(running, made[0])
        yield running


@pytest.fixture(scope="module")
def losses(made: Made, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Return the losses of a run from the disk."""
    folder = tmp_path_factory.mktemp("disk")
    train(small_config(folder, *made))
    return losses_of(folder / "run")


@pytest.fixture(scope="module")
def local_cache(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache of the local shards that stage one made."""
    path = tmp_path_factory.mktemp("local") / "local.zarr"
    precompute(config_for(path, made[0]), quiet=True)
    return path


@pytest.fixture(autouse=True)
def proxy(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """Run a proxy before the server; indexes are made anew, and pieces are small enough to be several."""
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote_shard, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(pieces, "_all", weakref.WeakValueDictionary())  # as in a process that begins
    with flaky_proxy(server.endpoint) as running:
        for name, value in (server.environment | {"AWS_ENDPOINT_URL": running.endpoint}).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def space(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return so many gigabytes of space for pieces."""
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", request.param)
    gigabytes: str = request.param
    return gigabytes


def _upload(server: S3Server, shards: list[str]) -> None:
    for shard in map(Path, shards):
        server.client().put_object(Bucket=BUCKET, Key=f"data/{shard.name}", Body=shard.read_bytes())


def _trained(folder: Path, cache: Path, **changes: Any) -> list[float]:
    train(small_config(folder, [URLS], cache, **changes))
    return losses_of(folder / "run")


def _asked(proxy: FlakyProxy) -> Counter[tuple[str, str, str]]:
    return Counter(request for request in proxy.requests if "/data/" in request[1])


def _pieces(shards: list[str]) -> int:
    return sum(math.ceil(Path(shard).stat().st_size / PIECE) for shard in shards)


@pytest.mark.parametrize("readers", [0, 1])
def test_a_cache_of_remote_shards_is_the_cache_of_local_ones(
    local_cache: Path, tmp_path: Path, readers: int
) -> None:
    precompute(config_for(tmp_path / "remote.zarr", [URLS], readers=readers), quiet=True)
    assert data_objects(tmp_path / "remote.zarr") == data_objects(local_cache)
    local, remote = (open_cache(path).content_id() for path in (local_cache, tmp_path / "remote.zarr"))
    assert remote == local


def test_a_cache_of_local_shards_grows_from_remote_ones(
    made: Made, local_cache: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "c.zarr"
    precompute(config_for(cache, made[0], views=2), quiet=True)
    wanted: dict[str, Any] = {
        "shards": [URLS],
        "cache": str(cache),
        "views": 4,
        "teachers": [{"model": TINY}],
    }
    more = wanted | {"readers": 0, "device": "cpu", "teacher_check": False}
    precompute(extension_of(more, where="test"), grow=True, quiet=True)
    assert data_objects(cache) == data_objects(local_cache)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_from_remote_shards_is_the_run_from_local_ones(
    made: Made, losses: list[float], tmp_path: Path, workers: int
) -> None:
    assert _trained(tmp_path, made[1], workers=workers) == losses


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_has_no_space_for_pieces_is_the_same(
    made: Made, losses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", "0")
    assert _trained(tmp_path, made[1], workers=workers) == losses


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"], indirect=True)
def test_workers_may_be_started_in_any_way(
    made: Made, losses: list[float], tmp_path: Path, start_method: str
) -> None:
    assert _trained(tmp_path, made[1], workers=1) == losses


@pytest.mark.parametrize("space", ["0", "1"], indirect=True)
def test_a_network_that_fails_every_third_request_changes_nothing(
    made: Made, losses: list[float], proxy: FlakyProxy, tmp_path: Path, space: str
) -> None:
    proxy.share = 0.35
    assert _trained(tmp_path, made[1], workers=1) == losses, space
    assert sum(count for kind, count in proxy.counts.items() if kind != "none") > 5


def test_a_network_that_fails_every_third_request_changes_no_cache(
    local_cache: Path, proxy: FlakyProxy, tmp_path: Path
) -> None:
    proxy.share = 0.35
    precompute(config_for(tmp_path / "remote.zarr", [URLS]), quiet=True)
    assert data_objects(tmp_path / "remote.zarr") == data_objects(local_cache)
    assert sum(count for kind, count in proxy.counts.items() if kind != "none") > 5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_asks_for_each_piece_once_beside_the_pass_over_the_headers(
    made: Made, proxy: FlakyProxy, workers: int
) -> None:
    loader = distill_loader(URLS, cache=made[1], batch_size=8, num_workers=workers, shuffle_window=8)
    first = _asked(proxy)
    assert sum(first.values()) == 2 + _pieces(made[0])  # two look-ups
    for epoch in range(3):
        assert sum(len(batch) for batch in loader.epoch(epoch)) == 48
    del loader
    later = _asked(proxy) - first
    assert sum(later.values()) == _pieces(made[0])
    assert {method for method, _, _ in later} == {"GET"}
    proxy.requests.clear()
    distill_loader(URLS, cache=made[1], batch_size=8)
    assert [method for method, _, _ in _asked(proxy).elements()] == ["HEAD"] * 2  # the index was kept


def test_without_space_a_pass_asks_once_for_each_sample(
    made: Made, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", "0")
    cached_samples._warn_of_space.cache_clear()
    loader = distill_loader(URLS, cache=made[1], batch_size=8, shuffle_window=8)
    assert "every image is asked for by a request of its own" in caplog.text
    first = _asked(proxy)
    assert sum(len(batch) for batch in loader.epoch(0)) == 48
    del loader
    later = _asked(proxy) - first
    assert 48 <= sum(later.values()) <= 48 + 4 * 8  # some are for the next pass


@pytest.mark.parametrize("is_cached", [False, True])
def test_an_evaluation_asks_for_each_piece_once(made: Made, proxy: FlakyProxy, is_cached: bool) -> None:
    source: dict[str, Any] = (
        {"cache": made[1]} if is_cached else {"policy": open_cache(made[1]).identity.policy}
    )
    loader = eval_loader(URLS, batch_size=16, num_workers=1, **source)
    assert sum(len(batch) for batch in loader) == 48
    assert sum(_asked(proxy).values()) == 2 + 2 * _pieces(made[0])  # the pass over the headers, too


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_changes_in_mid_run_is_named_with_the_sample(
    made: Made, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", "0")
    loader = distill_loader(URLS, cache=made[1], batch_size=4, num_workers=workers, lanes=1)
    batches = loader.epoch(0)
    next(batches)
    try:
        other = write_shard(tmp_path / "train-001.tar", range(24, 47))
        _upload(server, [str(other)])
        with pytest.raises(
            ShardError, match=r"the shard s3://\S+/train-001\.tar was changed .*sample 's000\d\d'"
        ):
            list(itertools.chain.from_iterable(map(loader.epoch, range(1, 4))))
        with pytest.raises(ManifestMismatchError, match=r"train-001\.tar"):
            distill_loader(URLS, cache=made[1], batch_size=8)  # indexed anew
    finally:
        _upload(server, made[0])
    assert index_shard(f"s3://{BUCKET}/data/train-001.tar").num_samples == 24


def test_a_shard_that_is_cut_is_refused_as_on_a_disk(made: Made, server: S3Server, tmp_path: Path) -> None:
    cut = str(shutil.copy(made[0][0], tmp_path / "cut.tar"))
    with Path(cut).open("r+b") as file:
        file.truncate(20_000)
    _upload(server, [cut])
    with pytest.raises(ShardError) as here:
        index_shard(cut)
    with pytest.raises(ShardError) as there:
        index_shard(f"s3://{BUCKET}/data/cut.tar")
    assert str(there.value).replace(f"s3://{BUCKET}/data/cut.tar", cut) == str(here.value)


def test_commands_take_addresses(made: Made, tmp_path: Path) -> None:
    cache = str(made[1])
    sheet = invoke(["views", URLS, "--cache", cache, "--out", str(tmp_path / "sheet.png"), "--json"])
    assert sheet.exit_code == 0, sheet.output
    checked = invoke(["verify", cache, "--views", URLS, "--all", "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["views"]["views"] == 48 * 4
    missing = invoke(["verify", cache, "--views", f"s3://{BUCKET}/data/none.tar"])
    assert (missing.exit_code, "there is none; check the address" in missing.stderr) == (3, True)
    refused = invoke(["verify", cache, "--views", "https://ann:pw@host/a.tar"])
    assert (refused.exit_code, "pw" in refused.stderr) == (2, False)
