"""Reading samples of a shard by their place in its index."""

from dataclasses import dataclass
from typing import Any

from kdcache.data.index import ShardIndex
from kdcache.data.samples import LABEL_EXT
from kdcache.data.shard_file import ShardBytes
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
    """Reads samples one at a time; ``num_classes`` bounds the labels, None leaves them unbounded.

    Of a remote shard it reads whole pieces, or with ``alone`` nothing but the sample, by a request of its own.
    """

    def __init__(self, index: ShardIndex, *, num_classes: int | None = None, alone: bool = False) -> None:
        self.index = index
        self._num_classes, self._alone = num_classes, alone
        self._bytes: ShardBytes = index.file.opened(alone=alone)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the open file behind; whoever gets the reader opens its own."""
        return _reader, (self.index, self._num_classes, self._alone)

    def read(self, row: int) -> RawSample:
        """Return sample ``row``.

        Raises:
            ShardError: the shard is another one than was indexed, or cannot be read, or the label is no class.
        """
        image, label = self.index.image_span(row), self.index.label_span(row)
        found = self._read(row, [image] if label is None else [image, label])
        number = NO_LABEL if label is None else self._class(row, found[1])
        return RawSample(self.index.key(row), found[0], self.index.image_ext(row), number)

    def label(self, row: int) -> int:
        """Return the label of sample ``row``, -1 without one.

        Raises:
            ShardError: the label is not an integer, or no class.
        """
        span = self.index.label_span(row)
        return NO_LABEL if span is None else self._class(row, self._read(row, [span])[0])

    def _read(self, row: int, spans: list[tuple[int, int]]) -> list[bytes]:
        try:
            return self._bytes.read(spans)
        except ShardError as error:
            raise ShardError(f"{error} (it was read for sample {self.index.key(row)!r})") from error

    def _class(self, row: int, label: bytes) -> int:
        text = label.strip()
        digits = text.removeprefix(b"+")
        last = _LARGEST_LABEL if self._num_classes is None else self._num_classes - 1
        if not digits.isdigit() or int(digits) > last:
            name = f"{self.index.key(row)}.{LABEL_EXT}"
            raise ShardError(
                f"{self.index.url}: {name} holds {text.decode('utf-8', 'backslashreplace')!r}, expected a class "
                f"number from 0 to {last}; correct the label, or choose a teacher of that many classes"
            )
        return int(digits)


def _reader(index: ShardIndex, num_classes: int | None, alone: bool) -> ShardReader:
    return ShardReader(index, num_classes=num_classes, alone=alone)
