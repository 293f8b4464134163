"""What two caches differ in, as facts, as JSON and as text."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CacheDiff", "KindDiff", "ValueDiff"]

_NAMED: Final = 8
_FIELDS_NAMED: Final = 16


@dataclass(slots=True)
class ValueDiff:
    """How far the targets of one teacher are apart, over the views that have them in both caches.

    Attributes:
        views: views compared; those in objects of equal bytes among them.
        equal: of these, views whose stored values are all equal.
        only_first: views with targets in the first cache only, of units that both have.
        only_second: likewise.
        mean_kl: KL(first || second) at T = 1 in nats; None for an embedding, or where nothing was compared.
        worst_kl: the largest.
        worst: where that is.
        top1_agreement: the share of views with the same best class; None like ``mean_kl``.
        largest: of an embedding, the largest difference of a feature; else None.
    """

    views: int = 0
    equal: int = 0
    only_first: int = 0
    only_second: int = 0
    mean_kl: float | None = None
    worst_kl: float | None = None
    worst: str = ""
    top1_agreement: float | None = None
    largest: float | None = None

    def add_equal(self, views: int, *, is_embedding: bool) -> None:
        """Count views of objects that are the same."""
        self.equal += views
        if is_embedding:
            self._add_features(views, 0.0)
        else:
            self._add(views, 0.0, views)

    def add(self, kl_N: NDArray[np.float64], is_agreed_N: NDArray[np.bool_], equal: int, where: str) -> None:
        """Count views that were compared."""
        if not len(kl_N):
            return
        self.equal += equal
        worst = float(kl_N.max())
        if not self.worst or worst > (self.worst_kl or 0.0):
            self.worst_kl, self.worst = worst, where
        self._add(len(kl_N), float(kl_N.sum()), int(is_agreed_N.sum()))

    def add_features(self, largest: float, views: int, equal: int) -> None:
        """Count embeddings that were compared."""
        self.equal += equal
        self._add_features(views, largest)

    def _add(self, views: int, kl: float, agreed: int) -> None:
        before, self.views = self.views, self.views + views
        if self.views:
            self.mean_kl = ((self.mean_kl or 0.0) * before + kl) / self.views
            self.top1_agreement = ((self.top1_agreement or 0.0) * before + agreed) / self.views
            self.worst_kl = self.worst_kl or 0.0

    def _add_features(self, views: int, largest: float) -> None:
        self.views += views
        self.largest = max(self.largest or 0.0, largest)

    def summary(self) -> str:
        """Return the comparison in a few words."""
        parts = [f"{self.views:,} views in both, {self.equal:,} of them equal"]
        if self.mean_kl is not None:
            where = f" ({self.worst})" if self.worst else ""
            parts.append(f"KL {self.mean_kl:.3g} on average, {self.worst_kl:.3g} at worst{where}")
            parts.append(f"top-1 agrees on {self.top1_agreement:.2%}")
        if self.largest is not None:
            parts.append(f"features differ by {self.largest:.3g} at most")
        if self.only_first or self.only_second:
            parts.append(f"{self.only_first:,} views have targets in A only, {self.only_second:,} in B only")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class KindDiff:
    """The units of one kind.

    Attributes:
        both: units that both caches have; None of all where nothing can be compared.
        equal_bytes: of these, units whose objects are the same.
        only_first: names of units that the first cache alone has, as it calls them.
        only_second: likewise.
        different: what differs in units that both have, by unit.
    """

    both: int
    equal_bytes: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    different: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield the comparison as lines."""
        yield f"{self.both:,} units in both, {self.equal_bytes:,} of them equal to the byte"
        for side, names in (("A", self.only_first), ("B", self.only_second)):
            if names:
                yield f"{len(names):,} units in {side} only: {_some(names)}"
        yield from (f"{unit}: {problem}" for unit, problem in list(self.different.items())[:_NAMED])
        if len(self.different) > _NAMED:
            yield f"and {len(self.different) - _NAMED:,} more units that differ"


@dataclass(frozen=True, slots=True)
class CacheDiff:
    """Two caches side by side.

    Attributes:
        first: where the one is, called A in texts.
        second: where the other is, called B.
        content_ids: of both.
        identity: fields of the identity that differ, as (field, in the first, in the second).
        about: likewise of what is known beside it.
        kinds: by ``samples``, ``views`` and teacher.
        values: by teacher.
        not_compared: why units were not compared; empty when they were.
    """

    first: str
    second: str
    content_ids: tuple[str, str]
    identity: tuple[tuple[str, Any, Any], ...]
    about: tuple[tuple[str, Any, Any], ...]
    kinds: Mapping[str, KindDiff]
    values: Mapping[str, ValueDiff]
    not_compared: str = ""

    @property
    def is_equal(self) -> bool:
        """True when both have the same content id: equal identities and equal objects."""
        return self.content_ids[0] == self.content_ids[1]

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return {"equal": self.is_equal, **asdict(self)}

    def text(self) -> str:
        """Return the comparison for people."""
        lines = [f"A  {self.first}  {self.content_ids[0]}", f"B  {self.second}  {self.content_ids[1]}"]
        lines.append("equal: one content id" if self.is_equal else "different")
        for title, fields in (("manifest", self.identity), ("beside the identity", self.about)):
            lines += [title] if fields else []
            named = fields[:_FIELDS_NAMED]
            lines += [f"  {name}: {_short(mine)} in A, {_short(other)} in B" for name, mine, other in named]
            lines += [f"  and {len(fields) - len(named)} more fields"] if len(fields) > len(named) else []
        if self.not_compared:
            lines.append(f"units were not compared: {self.not_compared}")
        for kind, found in self.kinds.items():
            lines += [kind, *(f"  {line}" for line in found.lines())]
            if kind in self.values:
                lines.append(f"  {self.values[kind].summary()}")
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
