"""How much of a training sample is finding its targets and its seeds? Real calls, timed where they happen."""

import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from kdcache.data import cached_views
from kdcache.data.cached_samples import CachedSamples
from kdcache.data.loader import DistillLoader, distill_loader
from kdcache.data.outcomes import demanded
from kdcache.keys import ViewRandom
from tests.benchmarks.step_data import StepData

__all__ = ["BATCH", "SampleCost", "sample_costs"]

BATCH = 128
"""The micro-batch that training takes unless it is told otherwise."""

_PARTS: tuple[tuple[str, Any, str], ...] = (
    ("render", cached_views.CachedViews, "_render"),
    ("lookup", CachedSamples, "read"),
    ("lookup", CachedSamples, "where"),
    ("shard", CachedSamples, "_raw"),
    ("decode", cached_views, "decode_for"),
    ("render", cached_views, "render_views"),
    ("seeding", importlib.import_module("kdcache.views.render"), "view_rng"),
    ("seeding", ViewRandom, "words"),
    ("seeding", ViewRandom, "raw"),
)
"""What is timed apart; the rest of a batch counts as lookup."""


@dataclass(frozen=True)
class SampleCost:
    """Seconds of one sample, the mean over a pass.

    Attributes:
        lookup: the epoch plan, sample tables, targets, digests of images and views, and putting the batch together.
        seeding: the view's random generator and its words.
        decode: from JPEG to pixels.
        render: from pixels to the view's place in the batch, without its seeding, and giving back the image's memory.
        shard: reading the image and its label from the shard.
    """

    lookup: float
    seeding: float
    decode: float
    render: float
    shard: float

    @property
    def share(self) -> float:
        """Lookup and seeding, of decode and render."""
        return (self.lookup + self.seeding) / (self.decode + self.render)


class _Stopwatch:
    """Gives every moment to the part that is running: the innermost of those that are timed.

    A call of a part costs it two looks at the clock, a third of a microsecond, which is not taken off.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._part, self._since = "nothing", time.perf_counter()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            before = self._switch(part)
            try:
                return call(*args, **options)
            finally:
                self._switch(before)

        return watched

    def _switch(self, part: str) -> str:
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since  # type: ignore[assignment]
        before, self._part, self._since = self._part, part, now
        return before


@contextmanager
def _watched(stopwatch: _Stopwatch) -> Iterator[None]:
    with ExitStack() as stack:
        for part, owner, name in _PARTS:
            stack.enter_context(patch.object(owner, name, stopwatch.timed(part, getattr(owner, name))))
        yield


def sample_costs(data: StepData, *, passes: int, batch_size: int = BATCH) -> list[SampleCost]:
    """Return the costs of a sample in so many passes, each under seeds that were not read before."""
    loader = distill_loader(data.shards, cache=data.cache, batch_size=batch_size)
    for _ in loader.epoch(0):  # what a run does only once
        pass
    return [_cost(loader, number) for number in range(1, passes + 1)]


def _cost(loader: DistillLoader, epoch: int) -> SampleCost:
    for block in loader.snapshot:  # a real epoch has more blocks than are kept: each is read again
        loader._batches._views._samples.tables.forget(block)
    stopwatch = _Stopwatch()
    batch = stopwatch.timed("lookup", loader._batches.__getitem__)
    with _watched(stopwatch):
        batches = demanded(batch((epoch, number)) for number in range(loader.num_batches))
        samples = sum(map(len, batches))
    parts = ("lookup", "seeding", "decode", "render", "shard")
    return SampleCost(**{part: stopwatch.seconds[part] / samples for part in parts})
