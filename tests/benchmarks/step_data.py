"""What the benchmarks of training read: real JPEGs in real shards, and a real cache of their views."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from webdataset.writer import TarWriter

from kdcache.config.views import ViewPolicy
from tests.benchmarks.views import photographs
from tests.support.real_cache import make_real_cache

__all__ = ["StepData", "home_in", "make_data"]

_NUM_CLASSES, _KEPT = 1000, 50
_PICTURES = 12
_BYTES_OF_A_CLASS = 16
"""The formula needs so many bytes of a view for each class: tiny views have fewer classes."""


@dataclass(frozen=True)
class StepData:
    """Shards and the cache of their views.

    Attributes:
        size: height and width of a view.
        num_samples: of all shards.
        num_classes: of the targets.
    """

    shards: tuple[str, ...]
    cache: Path
    size: int
    num_samples: int
    num_classes: int = _NUM_CLASSES


def make_data(folder: Path, samples: Sequence[int], *, views: int, size: int = 224) -> StepData:
    """Write a shard, which is a block, of so many photographs each, and cache so many ``rrc`` views of them.

    Few pictures come again and again under other keys. Every seed has objects of its own: nothing that was read for
    another one helps. A formula stands in for the teacher; the targets (K = 50 of 1,000 classes) are written as stage
    one writes them.
    """
    pictures = photographs(min(_PICTURES, sum(samples)))
    num_classes = min(_NUM_CLASSES, 3 * size * size // _BYTES_OF_A_CLASS)
    folder.mkdir(parents=True)
    shards, first = [], 0
    for shard, count in enumerate(samples):
        shards.append(str(folder / f"train-{shard:03d}.tar"))
        with TarWriter(shards[-1], encoder=False) as sink:
            for number in range(first, first + count):
                picture = pictures[number % len(pictures)]
                sink.write(
                    {"__key__": f"{number:08d}", "jpg": picture, "cls": b"%d" % (number % num_classes)}
                )
        first += count
    cache = make_real_cache(
        folder / "cache.zarr",
        shards,
        policy=ViewPolicy.named("rrc", size=size),
        num_aug_seeds=views,
        seeds_per_group=1,
        num_classes=num_classes,
        kept=_KEPT,
    )
    return StepData(tuple(shards), cache, size, sum(samples), num_classes)


def home_in(folder: Path) -> AbstractContextManager[object]:
    """Return the context in which indexes of shards are kept under ``folder``, not at home."""
    return patch.dict(os.environ, {"KDCACHE_HOME": str(folder / "home")})
