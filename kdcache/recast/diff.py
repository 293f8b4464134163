"""Two caches side by side: manifests, units, and the values of the units that both have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdcache.recast.difference import CacheDiff, KindDiff, ValueDiff
from kdcache.recast.divergence import divergences
from kdcache.recast.same import has_equal_bytes, why_they_differ
from kdcache.recast.source import Place, Source
from kdcache.runtime.progress import Progress, make_progress
from kdcache.store.encoding import decode
from kdcache.store.features import decode_features
from kdcache.store.head import Planes
from kdcache.store.invariants import has_targets
from kdcache.store.layout import SAMPLES, VIEWS, Unit
from kdcache.store.manifest import TeacherIdentity, differences

__all__ = ["CacheDiff", "diff"]


def diff(first: str | Path, second: str | Path, *, quiet: bool = False) -> CacheDiff:
    """Compare two caches.

    Units are matched by shard name, first sample and group, wherever they stand in their caches. Objects of
    equal bytes are not read.

    Raises:
        StoreError: one is no cache, or cannot be read.
        CorruptChunkError: one is damaged.
    """
    ours, theirs = Source.open(first), Source.open(second)
    identity = differences(_fields(ours), _fields(theirs))
    reason = _why_incomparable(ours, theirs)
    kinds, values = ({}, {}) if reason else _compared(ours, theirs, quiet=quiet)
    return CacheDiff(
        first=ours.url,
        second=theirs.url,
        content_ids=(ours.content_id(), theirs.content_id()),
        identity=tuple(identity),
        about=tuple(
            differences(
                ours.manifest.about.model_dump(mode="json"), theirs.manifest.about.model_dump(mode="json")
            )
        ),
        kinds=kinds,
        values=values,
        not_compared=reason,
    )


def _fields(source: Source) -> dict[str, Any]:
    """Return the identity with shards by name, so that one more does not hide what else differs."""
    fields = source.identity.canonical()
    shards = fields.pop("shards")
    return fields | {
        "shards": {entry["name"]: entry for entry in shards},
        "shard_order": [entry["name"] for entry in shards],
    }


def _why_incomparable(ours: Source, theirs: Source) -> str:
    """Say why a unit of one cache has no like in the other."""
    mine, other = ours.identity, theirs.identity
    for name, words in (("rows_per_block", "blocks"), ("seeds_per_group", "groups")):
        if getattr(mine, name) != getattr(other, name):
            return f"{words} have other sizes ({name} is {getattr(mine, name)} and {getattr(other, name)})"
    if mine.policy_digest != other.policy_digest:
        return "the policies differ, so one seed makes two views"
    return ""


def _compared(
    ours: Source, theirs: Source, *, quiet: bool
) -> tuple[Mapping[str, KindDiff], Mapping[str, ValueDiff]]:
    kinds: dict[str, KindDiff] = {}
    comparison = _Comparison(ours, theirs)
    total = sum(place in theirs.places for place in ours.places)
    names = dict.fromkeys([SAMPLES, VIEWS, *ours.identity.teachers, *theirs.identity.teachers])
    with make_progress("compare", total=total, unit="units", quiet=quiet) as progress:
        for kind in names:
            kinds[kind] = comparison.of_kind(kind, progress)
    return kinds, comparison.values


class _Comparison:
    """Two open caches of equal blocks, groups and policy."""

    def __init__(self, ours: Source, theirs: Source) -> None:
        self._ours, self._theirs = ours, theirs
        self.values: dict[str, ValueDiff] = {}

    def of_kind(self, kind: str, progress: Progress) -> KindDiff:
        """Compare all units of one kind."""
        mine = {place: unit for place, unit in self._ours.places.items() if place.kind == kind}
        other = {place: unit for place, unit in self._theirs.places.items() if place.kind == kind}
        shared = [place for place in mine if place in other]
        if shared and kind not in {SAMPLES, VIEWS}:
            self.values[kind] = ValueDiff()
        equal, different = 0, {}
        for place in shared:
            is_equal = has_equal_bytes(self._ours, mine[place], self._theirs, other[place])
            equal += is_equal and self._ours.identity.teachers.get(
                kind
            ) == self._theirs.identity.teachers.get(kind)
            problem = self._of_unit(place, mine[place], other[place], is_equal=is_equal)
            if problem is not None:
                different[mine[place].name] = problem
            progress.advance(1)
        return KindDiff(
            both=len(shared),
            equal_bytes=equal,
            only_first=tuple(unit.name for place, unit in mine.items() if place not in other),
            only_second=tuple(unit.name for place, unit in other.items() if place not in mine),
            different=different,
        )

    def _of_unit(self, place: Place, mine: Unit, other: Unit, *, is_equal: bool) -> str | None:
        if place.kind in {SAMPLES, VIEWS}:
            return None if is_equal else why_they_differ(self._ours, mine, self._theirs, other)
        ours = self._ours.identity.teachers[place.kind]
        theirs = self._theirs.identity.teachers[place.kind]
        found = self.values[place.kind]
        is_embedding = ours.features_of is not None
        if is_equal and ours == theirs:
            found.add_equal(self._ours.records[mine.name].rows, is_embedding=is_embedding)
            return None
        if is_embedding != (theirs.features_of is not None) or ours.num_classes != theirs.num_classes:
            return "other classes, or an embedding against logits: not compared"
        before = found.views - found.equal
        for seed in self._ours.seeds_of(mine):
            mine_PR = self._ours.reader.planes(place.kind, mine.block, seed)
            other_PR = self._theirs.reader.planes(place.kind, other.block, seed)
            _count(found, (mine_PR, other_PR), (ours, theirs), f"{place} under aug_seed {seed}")
        different = found.views - found.equal - before
        return f"{different:,} views have other values" if different else None


def _count(
    found: ValueDiff,
    planes: tuple[Planes, Planes],
    entries: tuple[TeacherIdentity, TeacherIdentity],
    where: str,
) -> None:
    """Compare one augmentation seed of a unit."""
    mine_PR, other_PR = planes
    is_mine_R, is_other_R = has_targets(mine_PR), has_targets(other_PR)
    found.only_first += int((is_mine_R & ~is_other_R).sum())
    found.only_second += int((is_other_R & ~is_mine_R).sum())
    rows = np.flatnonzero(is_mine_R & is_other_R)
    if not len(rows):
        return
    mine_PN, other_PN = mine_PR[:, rows], other_PR[:, rows]
    is_alike = entries[0].encoding == entries[1].encoding and mine_PN.shape == other_PN.shape
    equal = int((mine_PN == other_PN).all(axis=0).sum()) if is_alike else 0
    if entries[0].features_of is not None:
        if mine_PN.shape == other_PN.shape:
            pair = [
                decode_features(one, num_features=len(one)).astype(np.float64) for one in (mine_PN, other_PN)
            ]
            found.add_features(float(np.abs(pair[0] - pair[1]).max()), len(rows), equal)
        return
    cuts = [
        decode(one, encoding=entry.encoding, top_k=entry.top_k, num_classes=entry.num_classes)
        for one, entry in zip((mine_PN, other_PN), entries, strict=True)
    ]
    kl_N, is_agreed_N = divergences(cuts[0], cuts[1])
    found.add(kl_N, is_agreed_N, equal, where)
