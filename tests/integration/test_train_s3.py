"""Training straight from an object store: what it learns, what it asks for, and what happens when nobody answers."""

import functools
import gc
import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdcache.data.evaluation import eval_loader
from kdcache.data.loader import distill_loader
from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.store.reader import open_cache
from kdcache.train import train
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.precompute_runs import invoke
from tests.support.s3 import BUCKET, SERVERS, S3Server
from tests.support.training import losses_of, small_cache, small_config

Made = tuple[list[str], Path]

BLOCKS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return (shards, cache): 6 blocks of 8 samples under 4 seeds, two seeds an object."""
    return small_cache(tmp_path_factory.mktemp("made"), rows_per_block=8, seeds_per_group=2)


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Iterator[Callable[[str], S3Server]]:
    """Return what starts a server that has the cache, once each."""
    with ExitStack() as stack:

        @functools.cache
        def start(name: str) -> S3Server:
            running = stack.enter_context(SERVERS[name](tmp_path_factory.mktemp(name)))
            _upload(running, made[1])
            return running

        yield start


@pytest.fixture
def server(request: pytest.FixtureRequest, start_server: Callable[[str], S3Server]) -> S3Server:
    return start_server(getattr(request, "param", "seaweedfs"))


@pytest.fixture(scope="module")
def losses(made: Made, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Return the losses of a run from the disk."""
    folder = tmp_path_factory.mktemp("disk")
    train(small_config(folder, *made))
    return losses_of(folder / "run")


@pytest.fixture
def url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/cache"


@pytest.fixture
def proxy(server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    with flaky_proxy(server.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


def _upload(server: S3Server, cache: Path) -> None:
    client = server.client()
    for file in cache.rglob("*"):
        if file.is_file():
            key = f"cache/{file.relative_to(cache).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())


@pytest.mark.parametrize(
    ("server", "workers"), [("seaweedfs", 0), ("seaweedfs", 2), ("moto", 1)], indirect=["server"]
)
def test_a_run_from_a_bucket_is_the_run_from_the_disk(
    made: Made, url: str, losses: list[float], tmp_path: Path, workers: int
) -> None:
    train(small_config(tmp_path, made[0], url, workers=workers))  # type: ignore[arg-type]
    assert losses_of(tmp_path / "run") == losses


@pytest.mark.parametrize(
    "start_method", ["forkserver", pytest.param("spawn", marks=pytest.mark.soak)], indirect=True
)
def test_workers_may_be_started_in_any_way(
    made: Made, url: str, losses: list[float], tmp_path: Path, start_method: str
) -> None:
    train(small_config(tmp_path, made[0], url, workers=1))  # type: ignore[arg-type]
    assert losses_of(tmp_path / "run") == losses


def _kinds(proxy: FlakyProxy) -> dict[str, Counter[tuple[str, str]]]:
    """Return how often each (object, range) was asked for, by kind of object."""
    kinds: dict[str, Counter[tuple[str, str]]] = {}
    for method, path, part in proxy.requests:
        found = re.search(r"/cache/.*(samples|targets|views/digest)/(?:\w+/)?c/", path)
        if found is not None:
            is_index = part.startswith("bytes=0-") and found[1] != "samples"
            kind = f"{found[1]}{' index' * is_index}"
            kinds.setdefault(kind, Counter())[f"{method} {path}", part] += 1
    return kinds


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_pass_asks_once_for_the_targets_and_once_for_the_digests_of_a_block(
    made: Made, url: str, proxy: FlakyProxy, workers: int
) -> None:
    loader = distill_loader(made[0], cache=url, batch_size=4, num_workers=workers, shuffle_window=8)
    passes = 3
    for epoch in range(passes):
        assert sum(len(batch) for batch in loader.epoch(epoch)) == 48
    # with its last micro-batches, each reader asks for what it needs first in the pass that would follow
    first = range(4 * max(1, workers))
    needed = _objects(unit for e in range(passes) for unit in loader.plan(e).aug_seeds.items())
    ahead = _objects({unit for number in first for unit in loader.plan(passes).units(number)})
    del loader
    asked = _kinds(proxy)
    assert needed.total() == passes * BLOCKS
    for kind in ("targets", "views/digest"):
        assert set(asked[kind].values()) == {1}
        found = Counter(_object(path) for path, _ in asked[kind])
        assert needed <= found <= needed + ahead
    # whichever two begin with one object at the same moment may both ask
    most = max(1, workers)
    for kind, count in (("targets index", 2), ("views/digest index", 2), ("samples", 4)):
        assert set(asked[kind].values()) <= set(range(1, most + 1))
        assert len(asked[kind]) == count * BLOCKS


def _objects(units: Iterable[tuple[int, int]]) -> Counter[tuple[int, int]]:
    """Count how many seeds of each (group, block) these (block, aug_seed) are."""
    return Counter((seed // 2, block) for block, seed in units)


def _object(path: str) -> tuple[int, int]:
    """Return (group, block) of an object of targets or digests."""
    numbers = path.rpartition("/c/")[2].split("/")
    return int(numbers[0]), int(numbers[-1])


@pytest.mark.parametrize("batch_size", [16, 48])
def test_an_evaluation_asks_once_for_everything(
    made: Made, url: str, proxy: FlakyProxy, batch_size: int
) -> None:
    batches = list(eval_loader(made[0], cache=url, batch_size=batch_size, check_views=1))
    assert sum(len(batch) for batch in batches) == 48
    asked = _kinds(proxy)
    assert {kind: sum(each.values()) for kind, each in asked.items()} == {
        "samples": 4 * BLOCKS,
        **dict.fromkeys(("targets", "targets index", "views/digest", "views/digest index"), BLOCKS),
    }


def test_a_network_that_fails_every_third_request_changes_nothing(
    made: Made, url: str, losses: list[float], proxy: FlakyProxy, tmp_path: Path
) -> None:
    proxy.share = 0.35
    train(small_config(tmp_path, made[0], url, workers=1))  # type: ignore[arg-type]
    assert losses_of(tmp_path / "run") == losses
    assert proxy.num_faults > 10


def test_a_server_that_falls_silent_in_mid_training_is_a_clear_error_in_time(
    made: Made, url: str, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "1")
    loader = distill_loader(made[0], cache=url, batch_size=8, num_workers=0, shuffle_window=8)
    next(loader.epoch(0))
    proxy.dies_after, proxy.death = len(proxy.requests), "silence"
    started = time.monotonic()
    with pytest.raises(StoreError, match=rf"cannot read {url}/.*repeated for 1 s; KDCACHE_REMOTE_TIMEOUT"):
        list(itertools.chain.from_iterable(map(loader.epoch, range(4))))
    assert time.monotonic() - started < 4


def test_a_pinned_cache_is_recorded_and_another_one_refused(made: Made, url: str, tmp_path: Path) -> None:
    content_id = open_cache(made[1]).content_id()
    config = small_config(tmp_path, made[0], f"{url}@{content_id}", steps=1)  # type: ignore[arg-type]
    train(config)
    origin = {"cache": url, "cache_id": content_id}
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {name: report[name] for name in origin} == origin
    index = json.loads((tmp_path / "run" / "checkpoint.json").read_text())
    state = torch.load(tmp_path / "run" / index["file"], weights_only=True)
    assert (index["origin"], state["origin"]) == (origin, origin)
    assert load_file(tmp_path / "run" / "model.safetensors")
    with pytest.raises(ManifestMismatchError, match=rf"{content_id}, pinned is sha256:00000000"):
        distill_loader(made[0], cache=f"{url}@sha256:00000000", batch_size=8)


def test_every_command_that_reads_a_cache_knows_pins(made: Made, tmp_path: Path) -> None:
    shards, cache = made
    content_id = open_cache(cache).content_id()
    out = str(tmp_path / "run")
    trained: list[str] = [*shards, "--student", "vit_tiny_patch16_224", "--out", out, "--dry-run"]
    sizes = [f"--student-kwargs={name}" for name in ("img_size=24", "patch_size=12")]
    for words in (
        ["info"],
        ["verify"],
        ["train", *trained, *sizes, "--steps", "2", "--batch-size", "8", "--workers", "0", "--cache"],
    ):
        shown = invoke([*words, f"{cache}@{content_id[:15]}"])
        assert shown.exit_code == 0, shown.stderr
        refused = invoke([*words, f"{cache}@sha256:00000000"])
        assert refused.exit_code == 4, refused.output
        assert content_id in refused.stderr
        assert "sha256:00000000" in refused.stderr


def test_what_is_kept_of_a_bucket_is_gone_with_the_cache(
    made: Made, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(threading.enumerate())
    loader: Any = distill_loader(made[0], cache=url, batch_size=8)
    next(loader.epoch(0))
    assert len(list(tmp_path.glob("kdcache-*/*"))) > 4
    threads = [
        each for each in threading.enumerate() if each.name == "kdcache-read-ahead" and each not in before
    ]
    assert threads
    del loader
    gc.collect()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    gc.collect()
    assert not list(tmp_path.glob("kdcache-*"))
