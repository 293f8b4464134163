"""All formats of one teacher, measured; and the budget."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdcache.store.manifest import Encoding
from tests.benchmarks.storage_formats import Kept, encodings_of, exact, store, tiny_vit
from tests.benchmarks.storage_outputs import Outputs

__all__ = ["GOALS", "Found", "measure"]

GOALS = {10: 0.58, 50: 0.42, 100: 0.39}
"""Bytes a view, of TinyViT's, by K."""

_FEW_CLASSES = 256


@dataclass(frozen=True)
class Found:
    """All formats of one teacher.

    Attributes:
        teacher: its name.
        diversity: of the views, in words.
        stored: every encoding, read from a real cache.
        exact: the exact cut at the same K.
        tiny_vit: TinyViT's records at the same K, and at all classes where there are few.
        worst: bytes a view of ``gap8`` by K when no class is more frequent than another.
        rest: bytes a view of samples, thumbnails, commit records and metadata, of one cache with every encoding.
    """

    teacher: str
    diversity: str
    stored: list[Kept]
    exact: dict[int, Kept]
    tiny_vit: dict[int, Kept]
    worst: dict[int, float]
    rest: float

    def gap8(self) -> list[Kept]:
        """Return the cuts that are stored, by K."""
        return [kept for kept in self.stored if kept.form == "gap8"]


def measure(outputs: Outputs, ks: Sequence[int]) -> Found:
    """Store a teacher's outputs in every way."""
    num_classes = outputs.num_classes
    only_gap8: list[tuple[Encoding, int]] = [("gap8", k) for k in ks]
    with tempfile.TemporaryDirectory() as name:
        stored, rest = store(outputs, encodings_of(num_classes, ks), Path(name) / "own")
        shuffled, _ = store(outputs.shuffled(), only_gap8, Path(name) / "shuffled")
    records = [*ks, num_classes] if num_classes <= _FEW_CLASSES else ks
    return Found(
        outputs.teacher,
        outputs.diversity(),
        stored,
        {k: exact(outputs, k) for k in ks},
        {k: tiny_vit(outputs, k) for k in records},
        {kept.k: kept.bytes_per_view for kept in shuffled},
        rest,
    )
