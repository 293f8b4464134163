"""How fast a loader is from an object store whose every answer comes late, against the disk.

Run ``python -m tests.benchmarks.remote [--json] [--repeats N] [--latency 0.02]``. Server, proxy and loaders share the
machine. Both loaders take the same passes over the same shards in turn, with the same number of workers; a ratio is
the median over the passes, with its quartiles. The first pass, which starts the workers, is not counted; the second
also reads indexes and samples of the cache.
"""

import argparse
import contextlib
import json
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
from tests.benchmarks.views import photographs
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.real_cache import make_real_cache
from tests.support.s3 import BUCKET, S3Server, seaweed_server
from tests.support.shards import write_members

__all__ = ["GOAL", "main", "measure"]

GOAL = 0.95


def measure(
    *, repeats: int, latency: float, workers: int, shards: int, samples: int, size: int, batch_size: int
) -> dict[str, Any]:
    """Return the ratio of images/s, as median and quartiles, and both sides' own figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, _environment(Path(name)):
        folder = Path(name)
        urls = _write_shards(folder, shards, samples)
        policy = ViewPolicy.named("rrc", size=size)
        cache = make_real_cache(folder / "cache.zarr", urls, policy=policy, num_aug_seeds=repeats + 1)
        with seaweed_server(folder) as server, flaky_proxy(server.endpoint) as proxy:
            _upload(server, cache)
            os.environ.update(server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint})
            proxy.silent = latency
            settings: dict[str, Any] = {"batch_size": batch_size, "num_workers": workers, "shuffle_window": 1}
            near = distill_loader(urls, cache=cache, **settings)
            far = distill_loader(urls, cache=f"s3://{BUCKET}/cache.zarr", **settings)
            return _alternated(near, far, proxy, repeats) | {"latency": latency, "workers": workers}


def _alternated(near: DistillLoader, far: DistillLoader, proxy: FlakyProxy, repeats: int) -> dict[str, Any]:
    rates: dict[bool, list[float]] = {False: [], True: []}
    requests = []
    for epoch in range(repeats + 1):
        for is_far in (False, True) if epoch % 2 else (True, False):
            before = len(proxy.requests)
            rates[is_far].append(_images_per_second(far if is_far else near, epoch))
            if is_far:
                requests.append(len(proxy.requests) - before)
    ratios = [ours / theirs for ours, theirs in zip(rates[True][1:], rates[False][1:], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {
        "ratio": median,
        "lower_quartile": low,
        "upper_quartile": high,
        "images_per_second": statistics.median(rates[True][1:]),
        "reference_images_per_second": statistics.median(rates[False][1:]),
        "blocks": len(far.snapshot),
        "requests_per_pass": requests,
    }


def _images_per_second(loader: DistillLoader, epoch: int) -> float:
    started = time.monotonic()
    images = sum(len(batch) for batch in loader.epoch(epoch))
    return images / (time.monotonic() - started)


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


def main() -> None:
    """Print the ratio beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds added to every answer")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--samples", type=int, default=256, help="of a shard, which is a block")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    found = measure(**options)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    spread = f"{found['lower_quartile']:.3f} to {found['upper_quartile']:.3f}"
    rates = (
        f"{found['images_per_second']:.1f} images/s, from the disk {found['reference_images_per_second']:.1f}"
    )
    print(f"{found['ratio']:.3f} of the disk's images/s ({spread}), goal {GOAL}; {rates}")
    print(f"requests a pass over {found['blocks']} blocks: {found['requests_per_pass']}")


if __name__ == "__main__":
    main()
