"""How fast a loader is from an object store whose every answer comes late, against the disk.

Run ``python -m tests.benchmarks.remote [--short] [--json] [--repeats N] [--latency 0.02]``. Server, proxy and loaders
share the machine. Both loaders take the same passes over the same shards in turn, with the same number of workers; a
ratio is the median over the passes. The first pass, which starts the workers, is not counted; the second
also reads indexes and samples of the cache.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kdcache.config.views import ViewPolicy
from kdcache.data.loader import DistillLoader, distill_loader
from tests.benchmarks.rows import Row, in_turns, median_of, run_alone
from tests.benchmarks.views import photographs
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.real_cache import make_real_cache
from tests.support.s3 import BUCKET, S3Server, seaweed_server
from tests.support.shards import write_members

__all__ = ["GOAL", "rows"]

GOAL = 0.95


def rows(
    *,
    short: bool = False,
    repeats: int | None = None,
    latency: float = 0.02,
    workers: int = 2,
    shards: int = 4,
    samples: int = 256,
    size: int = 224,
    batch_size: int = 64,
) -> list[Row]:
    """Return the ratio of images/s, and how often a pass asks.

    ``latency`` are the seconds added to every answer; each of the ``shards`` is one block of ``samples``.
    """
    torch.set_num_threads(1)
    turns = repeats or (4 if short else 16)
    with tempfile.TemporaryDirectory() as name, _environment(Path(name)):
        folder = Path(name)
        urls = _write_shards(folder, shards, samples)
        policy = ViewPolicy.named("rrc", size=size)
        cache = make_real_cache(folder / "cache.zarr", urls, policy=policy, num_aug_seeds=turns + 1)
        with seaweed_server(folder) as server, flaky_proxy(server.endpoint) as proxy:
            _upload(server, cache)
            os.environ.update(server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint})
            proxy.silent = latency
            settings: dict[str, Any] = {"batch_size": batch_size, "num_workers": workers, "shuffle_window": 1}
            near = distill_loader(urls, cache=cache, **settings)
            far = distill_loader(urls, cache=f"s3://{BUCKET}/cache.zarr", **settings)
            return _alternated(near, far, proxy, turns)


def _alternated(near: DistillLoader, far: DistillLoader, proxy: FlakyProxy, repeats: int) -> list[Row]:
    requests = []

    def from_afar(epoch: int) -> None:
        before = len(proxy.requests)
        _pass(far, epoch)
        requests.append(len(proxy.requests) - before)

    nears, fars = in_turns([lambda epoch: _pass(near, epoch), from_afar], repeats, clock=time.monotonic)
    num_images, blocks = far.num_samples, len(far.snapshot)
    rates = (num_images / statistics.median(seconds) for seconds in (fars, nears))
    note = "{:.1f} images/s, from the disk {:.1f}".format(*rates)
    ratios = [there / here for there, here in zip(nears, fars, strict=True)]
    return [
        median_of("training's images/s from S3 against the disk", ratios, goal=GOAL, note=note),
        median_of(f"requests of a pass over {blocks} blocks", requests[1:], unit="", note=f"{requests}"),
    ]


def _pass(loader: DistillLoader, epoch: int) -> None:
    images = sum(len(batch) for batch in loader.epoch(epoch))
    assert images == loader.num_samples


def _write_shards(folder: Path, shards: int, samples: int) -> list[str]:
    """Write shards of photographs; a few pictures come again and again under other keys."""
    encoded = photographs(12)
    return [
        str(
            write_members(
                folder / f"train-{shard:03d}.tar",
                [
                    (f"{shard:03d}-{number:05d}.{ext}", data)
                    for number in range(samples)
                    for ext, data in (("jpg", encoded[number % len(encoded)]), ("cls", b"%d" % (number % 10)))
                ],
            )
        )
        for shard in range(shards)
    ]


def _upload(server: S3Server, cache: Path) -> None:
    client = server.client()
    for file in cache.rglob("*"):
        if file.is_file():
            key = f"cache.zarr/{file.relative_to(cache).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())


@contextlib.contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Keep indexes out of the home, and give back the environment afterwards."""
    before = dict(os.environ)
    os.environ["KDCACHE_HOME"] = str(folder / "home")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    numbers = ("repeats", "workers", "shards", "samples", "size", "batch_size")
    run_alone(__doc__, rows, flags={"latency": float} | dict.fromkeys(numbers, int))
