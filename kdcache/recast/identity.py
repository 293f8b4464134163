"""What several caches are together, or why they cannot be one."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from kdcache.config.terms import Terms
from kdcache.errors import ConfigError, ManifestMismatchError
from kdcache.recast.source import Source
from kdcache.store.manifest import About, Identity, Manifest, ShardEntry, TeacherIdentity, differences

__all__ = ["demand_no_conflict", "merged_manifest", "notes_on_terms", "shard_order"]

_NAMED: Final = 8
_PER_PART: Final = ("shards", "teachers", "num_aug_seeds")
_WHY: Final = {
    "rows_per_block": "an object holds whole blocks and is copied as it is",
    "seeds_per_group": "an object holds whole groups of seeds and is copied as it is",
}


def merged_manifest(sources: Sequence[Source], *, created: str) -> Manifest:
    """Return the manifest of the cache that holds all that the sources hold.

    Raises:
        ManifestMismatchError: naming each field that differs where it must not.
    """
    first = sources[0]
    found = list(chain.from_iterable(_field_conflicts(first, other) for other in sources[1:]))
    shards, shard_conflicts = _shards(sources)
    teachers, teacher_conflicts = _teachers(sources)
    demand_no_conflict([*found, *shard_conflicts, *teacher_conflicts])
    names = shard_order([[entry.name for entry in source.identity.shards] for source in sources])
    changes = {
        "shards": [shards[name].model_dump() for name in names],
        "teachers": {name: entry.model_dump() for name, entry in teachers.items()},
        "num_aug_seeds": max(source.identity.num_aug_seeds for source in sources),
    }
    try:
        identity = Identity.parse(first.identity.model_dump() | changes, where="the merged cache")
    except ConfigError as error:
        raise ManifestMismatchError(f"{error}; leave one of the teachers out with kdcache prune") from error
    return Manifest(identity=identity, about=_about(sources, created))


def notes_on_terms(sources: Sequence[Source]) -> list[str]:
    """Say which of licence and contact the merged cache has not, because its parts differ in it."""
    return [
        f"{_quoted(name, sources)}: the new cache has no {name}; set one with kdcache extend --{name}"
        for name in Terms.model_fields
        if any(getattr(source.manifest.about, name) for source in sources) and not _shared(name, sources)
    ]


def _quoted(name: str, sources: Sequence[Source]) -> str:
    texts = (f"{_short(getattr(source.manifest.about, name))} in {source.url}" for source in sources)
    return f"the caches differ in {name} ({', '.join(texts)})"


def demand_no_conflict(conflicts: Sequence[str]) -> None:
    """Refuse caches that contradict each other.

    Raises:
        ManifestMismatchError: naming the first conflicts.
    """
    if conflicts:
        more = f"; and {len(conflicts) - _NAMED:,} more" if len(conflicts) > _NAMED else ""
        raise ManifestMismatchError(
            f"these caches cannot become one: {'; '.join(conflicts[:_NAMED])}{more}; nothing was written. Leave "
            "out what is in conflict (kdcache prune drops seeds and teachers), or precompute it again"
        )


def shard_order(names: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of all shards in the order that one run over all of them would give them.

    Names that differ in their numbers only stand in the order of these; others in the order in which they
    come. Where an input has an order of its own, all names stand in the order in which they come.

    >>> shard_order([["a-0.tar", "a-2.tar"], ["b.tar"], ["a-1.tar"]])
    ['a-0.tar', 'a-1.tar', 'a-2.tar', 'b.tar']
    """
    seen = list(dict.fromkeys(chain.from_iterable(names)))
    stems: dict[str, int] = {}
    for name in seen:
        stems.setdefault(_stem(name), len(stems))

    def key(name: str) -> tuple[int, list[int], str]:
        return stems[_stem(name)], [int(digits) for digits in re.findall("[0-9]+", name)], name

    is_plain = all(sorted(one, key=key) == list(one) for one in names)
    return sorted(seen, key=key) if is_plain else seen


def _stem(name: str) -> str:
    return re.sub("[0-9]+", "#", name)


def _field_conflicts(first: Source, other: Source) -> Iterator[str]:
    ours, theirs = first.identity.canonical(), other.identity.canonical()
    for fields in (ours, theirs):
        for name in _PER_PART:
            del fields[name]
    for field, mine, yours in differences(ours, theirs):
        why = f" ({_WHY[field]})" if field in _WHY else ""
        yield f"{field} is {_short(mine)} in {first.url}, {_short(yours)} in {other.url}{why}"


def _shards(sources: Sequence[Source]) -> tuple[dict[str, ShardEntry], list[str]]:
    found: dict[str, tuple[ShardEntry, str]] = {}
    conflicts = []
    for source in sources:
        names = [entry.name for entry in source.identity.shards]
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        conflicts += [f"{source.url} has two shards of the name {name!r}" for name in twice]
        for entry in source.identity.shards:
            known, url = found.setdefault(entry.name, (entry, source.url))
            conflicts += _entry_conflicts(f"shard {entry.name!r}", known, url, entry, source.url)
    return {name: entry for name, (entry, _) in found.items()}, conflicts


def _teachers(sources: Sequence[Source]) -> tuple[dict[str, TeacherIdentity], list[str]]:
    found: dict[str, tuple[TeacherIdentity, str]] = {}
    conflicts = []
    for source in sources:
        for name, entry in source.identity.teachers.items():
            known, url = found.setdefault(name, (entry, source.url))
            conflicts += _entry_conflicts(f"teacher {name!r}", known, url, entry, source.url)
    return {name: entry for name, (entry, _) in found.items()}, conflicts


def _entry_conflicts(what: str, ours: Any, our_url: str, theirs: Any, their_url: str) -> list[str]:
    found = differences(ours.model_dump(mode="json"), theirs.model_dump(mode="json"))
    return [
        f"{what} has {field} {_short(mine)} in {our_url}, {_short(yours)} in {their_url}"
        for field, mine, yours in found
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _about(sources: Sequence[Source], created: str) -> About:
    """Say of the merged cache what is known of its parts; where two disagree, the first one speaks."""
    abouts = [source.manifest.about for source in sources]
    teachers: dict[str, Any] = {}
    for about in abouts:
        teachers = {**about.teachers, **teachers}
    fields = {
        "created": created,
        "software": abouts[0].software,
        "sources": list(dict.fromkeys(chain.from_iterable(about.sources for about in abouts))),
        "teachers": teachers,
        "decoder": abouts[0].decoder,
        **{name: _shared(name, sources) for name in Terms.model_fields},
        "merged_from": sorted({source.content_id() for source in sources}),
    }
    return About.model_validate(fields)


def _shared(name: str, sources: Sequence[Source]) -> str | None:
    values = {getattr(source.manifest.about, name) or None for source in sources}
    return values.pop() if len(values) == 1 else None
