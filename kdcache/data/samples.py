"""WebDataset's grouping: consecutive members of one key are one sample; here, none of them is lost.

What WebDataset itself keeps out of samples is passed over: names with a leading dot (``._000001.jpg`` by
macOS) and its own ``__...__`` members.
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kdcache.data.tar import Member
from kdcache.errors import ShardError

__all__ = ["IMAGE_EXTS", "LABEL_EXT", "SAMPLE_DTYPE", "SampleGrouper", "split_name"]

IMAGE_EXTS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
LABEL_EXT = "cls"

SAMPLE_DTYPE = np.dtype(
    [
        ("image_offset", "<u8"),
        ("image_size", "<u8"),
        ("label_offset", "<u8"),
        ("label_size", "<i4"),
        ("ext", "<u4"),
    ]
)
"""One sample of an index; a label_size of -1 means that there is no label."""

_META = re.compile(r"__[^/]*__($|/)")
_NO_LABEL = -1
_LARGEST_LABEL = 64


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into key and extension, as WebDataset does: at the first dot of its base name.

    >>> split_name("train/n01440764_10026.seg.PNG")
    ('train/n01440764_10026', 'seg.png')
    """
    folder, slash, base = name.rpartition("/")
    stem, _, ext = base.partition(".")
    return f"{folder}{slash}{stem}", ext.lower()


class SampleGrouper:
    """Turns the members of one shard into samples, and refuses what cannot be one."""

    def __init__(self, *, where: str) -> None:
        self.where = where
        self.keys: list[str] = []
        self.members: list[tuple[str, str, int]] = []
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._seen: set[str] = set()
        self._open: dict[str, Member] = {}
        self._key: str | None = None

    def add_all(self, members: Iterable[Member]) -> None:
        """Add members in tar order.

        Raises:
            ShardError: a key repeats, a sample has no image or two, or the tar is broken.
        """
        try:
            for member in members:
                self._add(member)
        except ShardError as error:
            raise ShardError(f"{error} ({self._progress()})") from error
        self._close()

    def table(self) -> NDArray[np.void]:
        """Return the samples as SAMPLE_DTYPE (N,).

        Raises:
            ShardError: there is none.
        """
        if not self._rows:
            raise ShardError(
                f"{self.where}: the shard holds no sample; a sample is an image ({', '.join(IMAGE_EXTS)}) and, "
                f"with a label, a .{LABEL_EXT} file of the same name: leave the shard out or pack it again"
            )
        return np.array(self._rows, dtype=SAMPLE_DTYPE)

    def _progress(self) -> str:
        last = f", the last one {self.keys[-1]!r}" if self.keys else ""
        return f"{len(self._rows)} complete samples come before it{last}"

    def _add(self, member: Member) -> None:
        if member.name.rpartition("/")[2].startswith(".") or _META.match(member.name):
            return
        key, ext = split_name(member.name)
        if key != self._key:
            self._close()
            self._start(key, member.name)
        if ext in self._open:
            raise ShardError(
                f"{self.where}: sample {key!r} has two members of type .{ext}; keys must be unique within a shard: "
                "rename one and pack the shard again"
            )
        self._open[ext] = member
        self.members.append((key, ext, member.size))

    def _start(self, key: str, name: str) -> None:
        if key in self._seen:
            raise ShardError(
                f"{self.where}: key {key!r} comes again at {name!r}, after other samples; the members of a sample "
                "must follow each other and keys be unique within a shard: pack the shard again, sorted by name"
            )
        self._seen.add(key)
        self._key = key

    def _close(self) -> None:
        if self._key is None:
            return
        images = [ext for ext in self._open if ext in IMAGE_EXTS]
        if len(images) != 1:
            found = ", ".join(f".{ext}" for ext in self._open)
            raise ShardError(
                f"{self.where}: sample {self._key!r} has {len(images) or 'no'} images (it has {found}); expected "
                f"exactly one of {', '.join(IMAGE_EXTS)}: correct the sample or take it out of the shard"
            )
        image, label = self._open[images[0]], self._open.get(LABEL_EXT)
        if label is not None and label.size > _LARGEST_LABEL:
            raise ShardError(
                f"{self.where}: the label {label.name!r} has {label.size} bytes; expected one integer as text"
            )
        span = (label.offset, label.size) if label is not None else (0, _NO_LABEL)
        self._rows.append((image.offset, image.size, *span, IMAGE_EXTS.index(images[0])))
        self.keys.append(self._key)
        self._key, self._open = None, {}
