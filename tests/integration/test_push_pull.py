"""Caches go from a disk to an object store and back, whole or in part, whatever kills or breaks the way."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.share.pull import pull
from kdcache.share.push import push
from kdcache.share.selection import Selection
from kdcache.store import open_cache
from kdcache.store.objects import LocalObjects
from kdcache.store.verify import verify
from kdcache.train import train
from tests.support.flaky_proxy import flaky_proxy
from tests.support.precompute_runs import invoke
from tests.support.processes import launch, run_facts
from tests.support.s3 import S3Server, seaweed_server
from tests.support.stores import make_manifest, make_store
from tests.support.training import losses_of, small_cache, small_config

Step = tuple[str, str, int]

# In the order of writing: each run goes on where the one before it was killed, and comes to its own step.
SHORT: list[Step] = [
    ("after", "samples/key", 2),
    ("temporary written", "targets", 2),
    ("after", "targets record", 1),
    ("before", "root", 1),
]
KINDS = [
    ("samples/key", 1),
    ("samples/digest", 2),
    ("views/thumbnail", 1),
    ("targets", 2),
    ("samples record", 2),
    ("targets record", 1),
    ("array metadata", 1),
    ("index", 1),
    ("SHA256SUMS", 1),
    ("root", 1),
]
LONG: list[Step] = [(phase, kind, count) for kind, count in KINDS for phase in ("before", "after")][:-1]
SOAK = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with seaweed_server(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("cache") / "c.zarr")


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    return f"s3://caches/{request.node.originalname}-{request.node.name[-8:-1]}/c.zarr"


@pytest.fixture(params=["disk", "bucket"])
def url(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> str:
    return str(tmp_path / "copy.zarr") if request.param == "disk" else bucket


def _files(folder: Path) -> dict[str, bytes]:
    """Return all files but what a killed writer left."""
    return {path: (folder / path).read_bytes() for path, *_ in LocalObjects(folder).list("")}


def _same(cache: Path, copy: Path) -> None:
    copied = _files(copy)
    copied.pop("SHA256SUMS")
    assert copied == _files(cache)
    assert verify(copy).content_id == open_cache(cache).content_id()


def test_a_cache_comes_back_from_a_bucket_as_it_was(cache: Path, tmp_path: Path, bucket: str) -> None:
    looked = json.loads(invoke(["push", str(cache), bucket, "--dry-run", "--json"]).stdout)
    with pytest.raises(StoreError, match="there is no cache"):
        open_cache(bucket)
    pushed = json.loads(invoke(["push", str(cache), bucket, "--quiet", "--json"]).stdout)
    assert looked | {"dry_run": False, "seconds": 0} == pushed | {"seconds": 0}
    assert pushed["content_id"] == open_cache(bucket).content_id()
    assert verify(bucket).unknown == ()
    again = json.loads(invoke(["push", str(cache), bucket, "--quiet", "--json"]).stdout)
    assert (again["objects"], again["present"], again["reads"]) == (0, pushed["objects"], 0)
    result = invoke(["pull", bucket, str(tmp_path / "d.zarr"), "--jobs", "3"])
    assert result.exit_code == 0, result.stderr
    assert f"{pushed['objects']} objects" in result.stdout
    assert "pull: " in result.stderr
    _same(cache, tmp_path / "d.zarr")


def test_another_cache_in_the_bucket_is_a_mismatch(cache: Path, tmp_path: Path, bucket: str) -> None:
    push(cache, bucket, quiet=True)
    other = make_store(tmp_path / "o.zarr", make_manifest(num_samples=(3,)))
    result = invoke(["push", str(other), bucket])
    assert result.exit_code == 4
    assert "holds another cache" in result.stderr
    assert open_cache(bucket).content_id() == open_cache(cache).content_id()


def test_a_dry_run_names_the_requests_that_are_made(
    cache: Path, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky_proxy(server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        looked = push(cache, bucket, dry_run=True)
        before = proxy.counts["none"]
        push(cache, bucket, quiet=True)
        assert proxy.counts["none"] - before == before + looked.writes
        assert before <= 2


def test_a_network_that_fails_every_third_request_loses_nothing(
    cache: Path, server: S3Server, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky_proxy(server.endpoint, share=0.35, seed=2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        push(cache, bucket, jobs=32, quiet=True)
        pull(bucket, tmp_path / "d.zarr", jobs=32, quiet=True)
        assert proxy.num_faults > 10
    _same(cache, tmp_path / "d.zarr")


def test_a_signal_is_heard_while_the_server_says_nothing(cache: Path, server: S3Server, bucket: str) -> None:
    with flaky_proxy(server.endpoint) as proxy:
        environment = {"AWS_ENDPOINT_URL": proxy.endpoint}
        proxy.silent = 0.05
        process = launch(["kdcache", "push", str(cache), bucket, "--jobs", "2"], environment=environment)
        deadline = time.monotonic() + 60
        while len(server.paths(bucket.removeprefix("s3://caches/"))) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        proxy.silent = 120.0
        time.sleep(0.2)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert process.returncode == 5, stderr
    assert "objects are done and stay; run the same command again" in stderr
    assert push(cache, bucket, quiet=True).present >= 4
    assert open_cache(bucket).content_id() == open_cache(cache).content_id()


@pytest.mark.parametrize(
    "steps", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="soak", marks=SOAK)]
)
def test_a_push_that_is_killed_at_any_step_goes_on_to_the_same_copy(
    cache: Path, tmp_path: Path, url: str, steps: list[Step]
) -> None:
    for phase, kind, count in steps:
        known = "before" if "://" in url and phase == "temporary written" else phase
        words = ["kdcache", "push", str(cache), url, "--jobs", "1", "--quiet"]
        process = launch(words, step=(known, kind, count))
        assert process.wait(60) == -signal.SIGKILL, (phase, kind, process.communicate())
        with pytest.raises(StoreError, match="there is no cache"):
            open_cache(url)
    facts = run_facts(["kdcache", "push", str(cache), url, "--quiet", "--json"])
    assert facts["present"] >= 58
    pull(url, tmp_path / "elsewhere.zarr", quiet=True)
    _same(cache, tmp_path / "elsewhere.zarr")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_push_to_a_disk_that_is_killed_at_any_moment_goes_on_to_the_same_copy(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(20261121)
    half = 0
    for number in range(20):
        # Some places are tried twice, so that what was begun is gone on with, and killed, too.
        place = tmp_path / f"copy-{number // 2}.zarr"
        process = launch(["kdcache", "push", str(cache), str(place), "--quiet"])
        _wait_for_files(place, rng.randrange(1, 50))
        process.kill_group()
        process.wait(60)
        half += _is_half(place)
        if number % 2:
            push(cache, place, quiet=True)
            _same(cache, place)
    with capsys.disabled():
        print(f"\ndisk: 20 kills, {half} of them before the manifest was there: 0 copies differ")  # noqa: T201
    assert half > 0


def _wait_for_files(place: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(_files(place)) < count:
        assert time.monotonic() < deadline


def _is_half(place: Path) -> bool:
    """Tell whether a copy has no manifest yet; with its manifest it is whole."""
    if (place / "zarr.json").exists():
        verify(place)
        return False
    with pytest.raises(StoreError, match="there is no cache"):
        open_cache(place)
    return True


def test_a_part_trains_as_the_whole_does(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path, num_aug_seeds=8, seeds_per_group=2, teachers=("formula", "other"))
    selection = Selection.parse(seeds="4,7", teachers="other", shards="0")
    report = pull(cache, tmp_path / "part.zarr", selection=selection, quiet=True)
    assert report.notes == ("seeds 4,7 are widened to 4-7: they come in groups of 2",)
    config = small_config(tmp_path, shards, tmp_path / "part.zarr", steps=4)
    train(config)
    assert len(losses_of(config.out)) == 4
