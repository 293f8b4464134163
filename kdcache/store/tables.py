"""What a cache says about the samples of one block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Int32
from kdcache.store.texts import steers_terminal

__all__ = [
    "LABEL_FILL",
    "NO_LABEL",
    "STATUS_NAMES",
    "STATUS_OK",
    "STATUS_PADDING",
    "STATUS_TOO_LARGE",
    "STATUS_UNDECODABLE",
    "STATUS_UNWRITTEN",
    "SampleTable",
]

STATUS_OK = 0
STATUS_PADDING = 1
STATUS_UNDECODABLE = 2
STATUS_TOO_LARGE = 3
STATUS_UNWRITTEN = 255

STATUS_NAMES = {STATUS_UNDECODABLE: "undecodable", STATUS_TOO_LARGE: "too large"}

NO_LABEL = -1
LABEL_FILL = -(2**31)


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The samples of one block, in shard order; padding is not part of it.

    Attributes:
        keys: WebDataset keys.
        labels: int32 (n,), -1 where a sample has none.
        digests: uint64 (n,), xxh3_64 of the encoded image.
        status: uint8 (n,), one of the ``STATUS_*`` values.
    """

    keys: tuple[str, ...]
    labels: Int32
    digests: NDArray[np.uint64]
    status: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.keys)

    @property
    def ok_N(self) -> NDArray[np.bool_]:
        """True for samples that have views."""
        ok_N: NDArray[np.bool_] = self.status == STATUS_OK
        return ok_N

    def head(self, num_rows: int) -> "SampleTable":
        """Return the first ``num_rows`` rows."""
        return SampleTable(
            self.keys[:num_rows], self.labels[:num_rows], self.digests[:num_rows], self.status[:num_rows]
        )

    def failures(self) -> dict[str, int]:
        """Count the bad samples by reason."""
        counts = {name: int((self.status == status).sum()) for status, name in STATUS_NAMES.items()}
        return {name: count for name, count in counts.items() if count}

    def problem(self, num_rows: int, *, num_classes: int) -> tuple[str, str] | None:
        """Return what no block of ``num_rows`` samples and padding has, as (column, what); None if all is right."""
        status_N, padding = self.status[:num_rows], self.status[num_rows:]
        label_N = self.labels[:num_rows]
        rules = (
            ("status", np.isin(status_N, [STATUS_OK, *STATUS_NAMES]).all(), "a sample has an unknown status"),
            ("status", (padding == STATUS_PADDING).all(), "padding is not marked as such"),
            ("key", not any(self.keys[num_rows:]), "padding has keys"),
            ("key", len(set(self.keys[:num_rows])) == num_rows, "a key is there twice"),
            ("key", not steers_terminal("".join(self.keys)), "a key holds control characters"),
            ("label", (label_N >= NO_LABEL).all(), "a label is below -1"),
            ("label", (label_N < num_classes).all(), f"a label is not below {num_classes}"),
            ("label", (self.labels[num_rows:] == LABEL_FILL).all(), "padding has labels"),
        )
        return next(((column, what) for column, is_right, what in rules if not is_right), None)

    def first_difference(self, other: "SampleTable") -> str | None:
        """Name the first sample in which the two tables differ and how; None when they are equal."""
        if len(self) != len(other):
            return f"{len(self)} samples against {len(other)}"
        for row, key in enumerate(self.keys):
            if key != other.keys[row]:
                return f"row {row} is sample {key!r} against {other.keys[row]!r}"
            for name, ours, theirs in (
                ("image digest", self.digests, other.digests),
                ("label", self.labels, other.labels),
                ("status", self.status, other.status),
            ):
                if ours[row] != theirs[row]:
                    return f"sample {key!r} has {name} {ours[row]} against {theirs[row]}"
        return None
