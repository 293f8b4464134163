"""What became of caches that were put together or made smaller."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from kdcache.store.commits import CommitRecord

__all__ = ["RecastReport"]


@dataclass(frozen=True)
class RecastReport:
    """The cache that was made, or that would be.

    Attributes:
        out: where it is.
        content_id: None while it cannot be known: of values that are still to be encoded.
        is_made: False for a dry run.
        units: units by kind.
        units_before: of all units, those that an earlier run had written.
        total_units: units of the complete cache.
        objects: data objects.
        num_bytes: their size; in a dry run, what is to be read for them.
        notes: what else is worth knowing.
    """

    out: str
    content_id: str | None
    is_made: bool
    units: dict[str, int]
    units_before: int
    total_units: int
    objects: int
    num_bytes: int
    notes: tuple[str, ...] = field(default=())

    @staticmethod
    def counted(records: Iterable[CommitRecord]) -> dict[str, Any]:
        """Return what records say of units, objects and bytes."""
        listed = list(records)
        kinds = Counter(record.unit.rpartition("/")[0] for record in listed)
        return {
            "units": dict(kinds),
            "objects": sum(len(record.objects) for record in listed),
            "num_bytes": sum(record.num_bytes for record in listed),
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return asdict(self)

    def summary(self) -> str:
        """Return the report in a few lines."""
        units = sum(self.units.values())
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.units.items())
        state = (
            "complete" if units == self.total_units else f"{self.total_units - units:,} units are not in it"
        )
        before = f", {self.units_before:,} of them there before" if self.units_before else ""
        verb = "holds" if self.is_made else "would hold"
        lines = [
            f"{self.out} {verb} {units:,} units ({kinds}; {state}){before}",
            f"{self.objects:,} objects, {self.num_bytes:,} bytes" + ("" if self.is_made else " to read"),
            f"content id {self.content_id or 'not known before the values are encoded'}",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
