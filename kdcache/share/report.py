"""What a push or a pull did, or would do."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["TransferReport"]


@dataclass(frozen=True, slots=True)
class TransferReport:
    """One copy.

    Attributes:
        content_id: of the copy.
        parent: of a part, the content id of the cache that it was taken from.
        selection: of a part, what was left in.
        objects: put at the destination; of a dry run, to be put.
        num_bytes: their size.
        present: objects that were there already.
        present_bytes: their size.
        read_back: of those, how many had to be read at the destination, because nothing else told whether they
            are right. A dry run does not read them.
        reads: requests for data objects, to the source and to read back.
        writes: requests that put an object.
        dry_run: nothing was written.
        notes: what differs from what was asked for.
        warnings: what the cache should have, and has not.
    """

    source: str
    destination: str
    content_id: str
    parent: str | None
    selection: dict[str, str]
    objects: int
    num_bytes: int
    present: int
    present_bytes: int
    read_back: int
    reads: int
    writes: int
    seconds: float
    dry_run: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all facts as values that JSON has."""
        return asdict(self)

    def summary(self) -> str:
        """Return the report in a few lines, for people."""
        return "\n".join([*self.notes, self._counts(), f"content id {self.content_id}", *self._part()])

    def _counts(self) -> str:
        verb = "to copy" if self.dry_run else "copied"
        counts = f"{self.objects:,} objects, {self.num_bytes:,} bytes"
        took = f"{self.reads + self.writes:,} requests"
        took += "" if self.dry_run else f", {self.seconds:,.1f} s"
        text = f"{self.source} to {self.destination}: {counts} {verb} ({took})"
        if not self.present:
            return text
        checked = f", {self.read_back:,} to be read back" if self.read_back and self.dry_run else ""
        return f"{text}; {self.present:,} objects, {self.present_bytes:,} bytes there already{checked}"

    def _part(self) -> list[str]:
        if self.parent is None:
            return []
        parts = ", ".join(f"{name} {value}" for name, value in self.selection.items())
        return [f"a part ({parts}) of {self.parent}"]
