"""Which part of a cache is wanted: some augmentation seeds, teachers or shards."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from kdcache.errors import ConfigError
from kdcache.store.layout import SAMPLES, VIEWS, Unit, blocks_of
from kdcache.store.manifest import About, Identity, Manifest

__all__ = ["Part", "Selection"]

_RANGE = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?")


@dataclass(frozen=True, slots=True)
class Selection:
    """What somebody asks for; None stands for all of it."""

    seeds: tuple[range, ...] | None = None
    teachers: tuple[str, ...] | None = None
    shards: tuple[range, ...] | None = None

    @classmethod
    def parse(cls, *, seeds: str | None, teachers: str | None, shards: str | None) -> Self:
        """Read what was typed: ``0-24,30`` for seeds and shards, ``a,b`` for teachers.

        Raises:
            ConfigError: it cannot be read.
        """
        names = None if teachers is None else tuple(name.strip() for name in teachers.split(","))
        return cls(
            seeds=None if seeds is None else _ranges(seeds, "--seeds"),
            teachers=names,
            shards=None if shards is None else _ranges(shards, "--shards"),
        )


@dataclass(frozen=True)
class Part:
    """A selection made from one cache; shapes and paths stay those of the whole.

    Attributes:
        manifest: of the part, which does not know its parent yet.
        facts: what was left in, of each dimension that something was left out of.
        blocks: the blocks that belong to it.
        groups: the groups of augmentation seeds that belong to it.
        notes: what differs from what was asked for.
    """

    manifest: Manifest
    facts: dict[str, str]
    blocks: frozenset[int]
    groups: frozenset[int]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, selection: Selection) -> Self:
        """Select from the cache of this manifest; seeds are widened to whole groups.

        Raises:
            ConfigError: it has no such seed, teacher or shard.
        """
        identity, facts = manifest.identity, {}
        groups = _groups_of(identity, selection.seeds)
        shards = _numbers(selection.shards, len(identity.shards), "shard")
        teachers = _teachers_of(identity, selection.teachers)
        size = identity.seeds_per_group
        seeds = [group * size + offset for group in groups for offset in range(size)]
        if len(seeds) < identity.num_aug_seeds:
            facts["seeds"] = _text(seeds)
        if len(teachers) < len(identity.teachers):
            facts["teachers"] = ",".join(teachers)
        if len(shards) < len(identity.shards):
            facts["shards"] = _text(shards)
        wanted = set(shards)
        return cls(
            manifest=_with_teachers(manifest, teachers),
            facts=facts,
            blocks=frozenset(block.index for block in blocks_of(identity) if block.shard in wanted),
            groups=frozenset(groups),
            notes=_notes(selection, seeds, size),
        )

    @property
    def is_whole(self) -> bool:
        """True when nothing is left out."""
        return not self.facts

    def holds(self, unit: Unit) -> bool:
        """Tell whether a unit belongs to the part."""
        is_kind = unit.kind in {SAMPLES, VIEWS} or unit.kind in self.manifest.identity.teachers
        return is_kind and unit.block in self.blocks and (unit.group is None or unit.group in self.groups)

    def manifest_from(self, parent: str) -> Manifest:
        """Return the manifest of the part, taken from the cache of this content id."""
        facts = self.manifest.about.model_dump() | {"parent": {"content_id": parent, "selection": self.facts}}
        return Manifest(identity=self.manifest.identity, about=About.model_validate(facts))


def _ranges(text: str, flag: str) -> tuple[range, ...]:
    found = [(part.strip(), _RANGE.fullmatch(part.strip())) for part in text.split(",")]
    ranges = []
    for part, match in found:
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(f"{flag} {text!r}: {part!r} is no range; write numbers as in 0-24 or 0-24,30")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(ranges)


def _numbers(ranges: Sequence[range] | None, count: int, what: str) -> list[int]:
    """Return the numbers in the ranges, sorted."""
    if ranges is None:
        return list(range(count))
    last = max(some[-1] for some in ranges)
    if last >= count:
        raise ConfigError(
            f"{what} {last} is not in the cache, which has {count:,} {what}s, counted from 0; "
            f"ask for {what}s up to {count - 1}"
        )
    return sorted({number for some in ranges for number in some})


def _groups_of(identity: Identity, ranges: Sequence[range] | None) -> list[int]:
    seeds = _numbers(ranges, identity.num_aug_seeds, "seed")
    return sorted({seed // identity.seeds_per_group for seed in seeds})


def _teachers_of(identity: Identity, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(identity.teachers)
    unknown = [name for name in names if name not in identity.teachers]
    if unknown:
        known = ", ".join(identity.teachers) or "none"
        raise ConfigError(f"the cache has no teacher {unknown[0]!r}; it has {known}")
    return [name for name in identity.teachers if name in names]


def _with_teachers(manifest: Manifest, names: Sequence[str]) -> Manifest:
    entries = {name: manifest.identity.teachers[name] for name in names}
    facts = {name: manifest.about.teachers[name] for name in names if name in manifest.about.teachers}
    return Manifest(
        identity=manifest.identity.model_copy(update={"teachers": entries}),
        about=manifest.about.model_copy(update={"teachers": facts}),
    )


def _notes(selection: Selection, seeds: Sequence[int], size: int) -> tuple[str, ...]:
    asked = sorted({seed for some in selection.seeds or () for seed in some})
    if not asked or asked == list(seeds):
        return ()
    return (f"seeds {_text(asked)} are widened to {_text(seeds)}: they come in groups of {size}",)


def _text(numbers: Iterable[int]) -> str:
    """Return sorted numbers as ranges.

    >>> _text([0, 1, 2, 5])
    '0-2,5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
