"""Which part of a cache is wanted: seeds in whole groups, teachers, kept classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from kdcache.errors import ConfigError
from kdcache.store.manifest import Identity, TeacherIdentity

__all__ = ["Selection"]

_NO_FEWER = {
    "dense8": "it rounds each class to 1/254 of the view's own range, so classes tie and their order is lost",
    "hard": "it keeps one class",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of a cache.

    Attributes:
        groups: the groups of augmentation seeds.
        teachers: names of teachers and embeddings.
        top_k: K of all teachers that keep more; None leaves them as they are.
    """

    groups: tuple[int, ...]
    teachers: tuple[str, ...]
    top_k: int | None

    @classmethod
    def of(
        cls, identity: Identity, *, seeds: str | None, teachers: Sequence[str] | None, top_k: int | None
    ) -> Self:
        """Read what was asked for; seeds are widened to whole groups.

        Raises:
            ConfigError: nothing was asked for, or something that the cache does not have or cannot give.
        """
        if seeds is None and not teachers and top_k is None:
            raise ConfigError("say what to keep: --seeds, --teachers or --top-k")
        size = identity.seeds_per_group
        wanted = range(identity.num_aug_seeds) if seeds is None else _seeds(seeds, identity.num_aug_seeds)
        names = _teachers(identity, teachers)
        selection = cls(tuple(sorted({seed // size for seed in wanted})), names, top_k)
        if top_k is not None and not any(selection.is_lowered(identity.teachers[name]) for name in names):
            raise ConfigError(
                f"--top-k is {top_k}, but no teacher that is kept keeps more classes: "
                + ", ".join(f"{name} {identity.teachers[name].top_k}" for name in names)
            )
        for name in names:
            _demand_can_lower(name, identity.teachers[name], selection)
        return selection

    def is_lowered(self, teacher: TeacherIdentity) -> bool:
        """Tell whether fewer classes of a teacher are wanted than there are."""
        return self.top_k is not None and teacher.features_of is None and teacher.top_k > self.top_k

    def seeds(self, seeds_per_group: int) -> str:
        """Return the seeds that are kept, as ``0-24,50-74``."""
        ends: list[list[int]] = []
        for group in self.groups:
            first, last = group * seeds_per_group, (group + 1) * seeds_per_group - 1
            if ends and ends[-1][1] == first - 1:
                ends[-1][1] = last
            else:
                ends.append([first, last])
        return ",".join(f"{first}-{last}" for first, last in ends)

    def to_json(self, identity: Identity) -> dict[str, Any]:
        """Return what differs from the whole cache."""
        found: dict[str, Any] = {}
        if len(self.groups) * identity.seeds_per_group < identity.num_aug_seeds:
            found["seeds"] = self.seeds(identity.seeds_per_group)
        if len(self.teachers) < len(identity.teachers):
            found["teachers"] = list(self.teachers)
        if self.top_k is not None:
            found["top_k"] = self.top_k
        return found


def _seeds(text: str, num_aug_seeds: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,7})\s*(?:-\s*([0-9]{1,7})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ConfigError(f"--seeds is {text!r}, expected ranges of numbers such as 0-24 or 0-9,20-29")
        if last >= num_aug_seeds:
            raise ConfigError(f"--seeds names {last}, but the cache has the seeds 0-{num_aug_seeds - 1}")
        found.update(range(first, last + 1))
    return found


def _teachers(identity: Identity, wanted: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(identity.teachers)
    strangers = sorted(set(wanted or ()) - set(names))
    if strangers:
        raise ConfigError(
            f"--teachers names {strangers[0]!r}, but the cache has {', '.join(names) or 'none'}"
        )
    kept = tuple(name for name in names if not wanted or name in wanted)
    for name in kept:
        embedding = identity.teachers[name].features_of
        if embedding is not None and embedding.teacher not in kept:
            raise ConfigError(
                f"--teachers keeps {name!r} without its teacher {embedding.teacher!r}; features belong to a "
                "teacher: keep both, or neither"
            )
    return kept


def _demand_can_lower(name: str, teacher: TeacherIdentity, selection: Selection) -> None:
    if not selection.is_lowered(teacher) or teacher.encoding not in _NO_FEWER:
        return
    raise ConfigError(
        f"teacher {name!r} is stored as {teacher.encoding}, of which --top-k {selection.top_k} cannot be made: "
        f"{_NO_FEWER[teacher.encoding]}; leave it out with --teachers, or precompute with that --top-k"
    )
