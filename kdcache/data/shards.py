"""Reading samples of a shard by their place in its index."""

import os
from dataclasses import dataclass
from typing import Any

from kdcache.data.index import ShardIndex
from kdcache.data.samples import LABEL_EXT
from kdcache.errors import ShardError

__all__ = ["NO_LABEL", "RawSample", "ShardReader"]

NO_LABEL = -1
_LARGEST_LABEL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RawSample:
    """One sample as the shard holds it; a label of -1 means that there is none."""

    key: str
    encoded: bytes
    ext: str
    label: int


class ShardReader:
    """Reads samples one at a time; ``num_classes`` bounds the labels, None leaves them unbounded."""

    def __init__(self, index: ShardIndex, *, num_classes: int | None = None) -> None:
        self.index = index
        self._num_classes = num_classes
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind; whoever gets the reader opens its own."""
        return {"index": self.index, "_num_classes": self._num_classes, "_descriptor": None}

    def __del__(self) -> None:
        """Close the file."""
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]

    def read(self, row: int) -> RawSample:
        """Return sample ``row``.

        Raises:
            ShardError: the shard got shorter, or the label is no class.
        """
        encoded = self._bytes(*self.index.image_span(row))
        return RawSample(self.index.key(row), encoded, self.index.image_ext(row), self.label(row))

    def label(self, row: int) -> int:
        """Return the label of sample ``row``, -1 without one.

        Raises:
            ShardError: the label is not an integer, or no class.
        """
        span = self.index.label_span(row)
        if span is None:
            return NO_LABEL
        text = self._bytes(*span).strip()
        digits = text.removeprefix(b"+")
        last = _LARGEST_LABEL if self._num_classes is None else self._num_classes - 1
        if not digits.isdigit() or int(digits) > last:
            name = f"{self.index.key(row)}.{LABEL_EXT}"
            raise ShardError(
                f"{self.index.url}: {name} holds {text.decode('utf-8', 'backslashreplace')!r}, expected a class "
                f"number from 0 to {last}; correct the label, or choose a teacher of that many classes"
            )
        return int(digits)

    def _opened(self) -> int:
        try:
            return os.open(self.index.url, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ShardError(
                f"cannot open the shard {self.index.url}, which was indexed before: {error.strerror}; restore it "
                "and restart"
            ) from error

    def _bytes(self, offset: int, size: int) -> bytes:
        if self._descriptor is None:
            self._descriptor = self._opened()
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise ShardError(
                f"cannot read {size} bytes at {offset:,} of the shard {self.index.url}: {error.strerror}; check the "
                "disk and restart"
            ) from error
        if len(data) != size:
            raise ShardError(
                f"{self.index.url} got shorter while it was in use ({len(data)} of {size} bytes at {offset:,}); "
                "fetch the shard again and restart"
            )
        return data
