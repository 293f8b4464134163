"""Whether two caches hold the same in one unit: by the digests of its objects, else by their values."""

import numpy as np

from kdcache.recast.source import Source
from kdcache.store.layout import SAMPLES, VIEWS, Unit

__all__ = ["has_equal_bytes", "why_they_differ"]


def has_equal_bytes(ours: Source, our_unit: Unit, theirs: Source, their_unit: Unit) -> bool:
    """Tell by the commit records whether all objects of a unit are the same."""
    mine = [(entry.size, entry.sha256) for entry in ours.records[our_unit.name].objects]
    return mine == [(entry.size, entry.sha256) for entry in theirs.records[their_unit.name].objects]


def why_they_differ(ours: Source, our_unit: Unit, theirs: Source, their_unit: Unit) -> str | None:
    """Say what differs in the values of a unit; None if only the compressed bytes do.

    Raises:
        CorruptChunkError: an object is damaged.
    """
    if our_unit.kind == SAMPLES:
        mine, other = ours.reader.samples(our_unit.block), theirs.reader.samples(their_unit.block)
        return mine.first_difference(other)
    if our_unit.kind == VIEWS:
        return _view_difference(ours, our_unit, theirs, their_unit)
    different = total = 0
    for seed in ours.seeds_of(our_unit):
        planes_PR = ours.reader.planes(our_unit.kind, our_unit.block, seed)
        other_PR = theirs.reader.planes(their_unit.kind, their_unit.block, seed)
        different += int((planes_PR != other_PR).any(axis=0).sum())
        total += ours.layout.blocks[our_unit.block].num_rows
    return f"{different:,} of {total:,} views have other targets" if different else None


def _view_difference(ours: Source, our_unit: Unit, theirs: Source, their_unit: Unit) -> str | None:
    """Name the first view that is another one."""
    for seed in ours.seeds_of(our_unit):
        mine_R = ours.reader.view_digests(our_unit.block, seed)
        differs_R = mine_R != theirs.reader.view_digests(their_unit.block, seed)
        if differs_R.any():
            keys = ours.reader.samples(our_unit.block).keys
            row = int(np.flatnonzero(differs_R)[0])
            key = repr(keys[row]) if row < len(keys) else "padding"
            return f"sample {key} under aug_seed {seed} has another view ({int(differs_R.sum())} of that seed differ)"
        small, other = (
            source.reader.thumbnails(unit.block, seed)
            for source, unit in ((ours, our_unit), (theirs, their_unit))
        )
        if (small != other).any():
            return f"a thumbnail under aug_seed {seed} differs"
    return None
