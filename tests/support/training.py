"""A training run small enough for a test: two shards of 24 pictures, a formula for a teacher, a tiny ViT."""

import json
from pathlib import Path
from typing import Any

from kdcache.config.train import TrainConfig
from kdcache.config.views import ViewPolicy
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards

__all__ = ["POLICY", "TINY_VIT", "losses_of", "small_cache", "small_config", "train_lines"]

TINY_VIT: dict[str, Any] = {"img_size": 24, "patch_size": 12, "embed_dim": 32, "depth": 2, "num_heads": 2}
POLICY = ViewPolicy.named("rrc", size=24)


def small_cache(folder: Path, **changes: Any) -> tuple[list[str], Path]:
    """Write shards and their cache under ``folder``; return (shards, cache)."""
    shards = write_shards(folder / "data", [24, 24])
    return shards, make_real_cache(folder / "cache.zarr", shards, **({"policy": POLICY} | changes))


def small_config(folder: Path, shards: list[str], cache: Path, **changes: Any) -> TrainConfig:
    """Return settings of a run of 10 steps (6 an epoch) into ``folder / "run"``."""
    settings = {
        "shards": shards,
        "cache": str(cache),
        "student": "vit_tiny_patch16_224",
        "student_kwargs": TINY_VIT,
        "out": str(folder / "run"),
        "batch_size": 8,
        "steps": 10,
        "lr": 1e-3,
        "workers": 0,
        "threads": 1,
        "device": "cpu",
        "log_interval": 1,
        "quiet": True,
    }
    return TrainConfig.parse(settings | changes, where="test")


def train_lines(out: Path | str) -> list[dict[str, Any]]:
    """Return the log lines of the steps, without what depends on the clock or on the number of workers."""
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in {"images_per_second", "views_checked"}}
        for line in lines
        if line["kind"] == "train"
    ]


def losses_of(out: Path | str) -> list[float]:
    """Return the loss of each logged step."""
    return [line["loss"] for line in train_lines(out)]
