"""A short probe: how many views a second do readers render and teachers see?"""

import time
from collections.abc import Collection, Sequence
from itertools import cycle, islice

from kdcache.precompute.forecast import Rates
from kdcache.precompute.look import Look
from kdcache.precompute.panel import Panel
from kdcache.precompute.plan import Item, Task
from kdcache.precompute.reader import ItemReader, RenderedItem, rendered_items
from kdcache.runtime.device import available_cores
from kdcache.store.layout import THUMBNAIL_ROWS

__all__ = ["probe"]

_SECONDS = 2.0
"""For each network at least, after what warms it up."""

_ROUNDS = 3
"""Items of each reader; the first one warms it up."""

_SHOWN = 4
"""Items that stay in memory for the networks."""


def probe(look: Look, networks: Collection[str]) -> Rates:
    """Measure on items of the run itself, so that each decode serves as many views as it will."""
    settings = look.prepared.settings
    config, is_cpu = settings.config, settings.device.type == "cpu"
    cores = max(1, available_cores() // config.num_workers)
    readers = min(max(1, settings.readers), cores)
    render, shown = _render(look, readers)
    has_own_devices = is_cpu or config.engine == "ray"
    return Rates(
        render=render,
        networks={name: _teach(look, name, shown) for name in networks},
        readers=readers,
        workers=config.num_workers,
        devices=config.num_workers if has_own_devices else max(1, len(set(config.devices))),
        overlaps=not is_cpu,
    )


def _items(look: Look, wanted: int) -> list[Item]:
    """Return items from all over the run."""
    group, shape = look.identity.seeds_per_group, look.prepared.shape
    chosen = []
    for i in range(wanted):
        task = look.pending[i * len(look.pending) // wanted]
        items = tuple(shape.items_of(task, seeds_per_group=group, thumbnail_rows=THUMBNAIL_ROWS))
        chosen.append(items[i % len(items)])
    return chosen


def _render(look: Look, readers: int) -> tuple[float, list[RenderedItem]]:
    """Return views/s of one reader among as many as the run has, and some of what they read."""
    settings, identity = look.prepared.settings, look.identity
    items = _items(look, _ROUNDS * readers)
    reader = ItemReader(settings.data.indexes, identity.policy, num_classes=identity.num_classes)
    shown: list[RenderedItem] = []
    views, seconds = 0, 0.0
    rendered = rendered_items(
        reader,
        items,
        processes=min(settings.readers, readers),
        pin_memory=settings.device.type == "cuda",
    )
    for number, item in enumerate(rendered):
        shown += [item] if len(shown) < _SHOWN else []
        if number >= readers:
            views += _good(item)
            seconds += item.seconds
    return max(1, views) / seconds, shown


def _teach(look: Look, name: str, shown: Sequence[RenderedItem]) -> float:
    """Return views/s of one network with its device, or a worker's cores, to itself."""
    settings = look.prepared.settings
    at_once = settings.tuning.parallel_batches
    # Every size of a batch may be compiled for itself.
    _timed(look, name, shown, len(shown) if settings.config.compile else at_once)
    views, seconds, rounds = 0, 0.0, 1
    while seconds < _SECONDS:
        more, taken = _timed(look, name, shown, at_once * rounds)
        views, seconds, rounds = views + more, seconds + taken, 2 * rounds
    return max(1, views) / seconds


def _timed(look: Look, name: str, shown: Sequence[RenderedItem], num_items: int) -> tuple[int, float]:
    panel = Panel(look.prepared.teachers, look.identity.teachers, look.prepared.settings.tuning)
    task = Task(look.blocks[0], 0, (name,))
    views, started = 0, time.monotonic()
    for outcome in panel.outcomes((item, task) for item in islice(cycle(shown), num_items)):
        outcome.cuts[name].to_numpy()  # waits for the device
        views += _good(outcome.rendered)
    return views, time.monotonic() - started


def _good(item: RenderedItem) -> int:
    return int((item.digests_GN != 0).sum())
