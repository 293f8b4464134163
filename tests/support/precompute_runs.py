"""Runs of stage one on small real shards, as a library call and as a command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from kdcache.config.precompute import PrecomputeConfig
from kdcache.store import open_cache
from kdcache_cli.main import kdcache
from tests.support.processes import Process, launch
from tests.support.shards import png_bytes, write_shard

__all__ = ["TINY", "config_for", "data_objects", "grey_shard", "invoke", "start", "words"]

TINY = "tests.support.teachers:tiny_cnn"


def config_for(cache: Path | str, shards: Sequence[str], **changes: Any) -> PrecomputeConfig:
    """Return small settings: 24-pixel views, 4 of each sample, 2 in a group, a tiny network, no check."""
    settings: dict[str, Any] = {
        "shards": list(shards),
        "cache": str(cache),
        "teachers": [{"model": TINY}],
        "policy": {"preset": "rrc", "size": 24},
        "views": 4,
        "seeds_per_group": 2,
        "rows_per_block": 8,
        "batch_size": 8,
        "teacher_threads": 1,
        "parallel_batches": 1,
        "readers": 0,
        "device": "cpu",
        "teacher_check": False,
    }
    return PrecomputeConfig.parse({**settings, **changes}, where="test")


def words(cache: Path | str, shards: Sequence[str], *more: str) -> list[str]:
    """Return the same settings as words of a command line."""
    flags = "--policy rrc --size 24 --views 4 --seeds-per-group 2 --rows-per-block 8 --batch-size 8"
    rest = "--teacher-threads 1 --readers 0 --device cpu --skip-teacher-check"
    teacher = [] if "--teacher" in more else ["--teacher", TINY]
    return ["precompute", *shards, "--cache", str(cache), *teacher, *flags.split(), *rest.split(), *more]


def invoke(arguments: Sequence[str]) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(kdcache, list(arguments))


def start(arguments: Sequence[str], **environment: str) -> Process:
    """Run a command in another process, with a session of its own."""
    return launch(["kdcache", *arguments], environment=environment)


def data_objects(cache: Path) -> dict[str, bytes]:
    """Return the bytes of every data object that the commit records name; the rest of the cache aside."""
    paths = sorted(entry.path for record in open_cache(cache).records() for entry in record.objects)
    return {path: (cache / path).read_bytes() for path in paths}


def grey_shard(path: Path, levels: Sequence[int], *, labels: Sequence[int] | None = None) -> Path:
    """Write flat pictures of these grey levels; by default the label is the level over 25."""
    images = {n: png_bytes(np.full((32, 32, 3), level, dtype=np.uint8)) for n, level in enumerate(levels)}
    known = [level // 25 for level in levels] if labels is None else labels
    return write_shard(path, range(len(levels)), labels=dict(enumerate(known)), images=images)


def manifest_of(cache: Path) -> dict[str, Any]:
    """Return the manifest as JSON."""
    document: dict[str, Any] = json.loads((cache / "zarr.json").read_text(encoding="utf-8"))
    manifest: dict[str, Any] = document["attributes"]["kdcache"]
    return manifest
