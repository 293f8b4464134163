"""The index of a shard: key, image and label of every sample, from one strict pass over the tar's headers.

It is kept as one memory-mapped file per shard under ``$KDCACHE_HOME`` (default ``~/.cache/kdcache``), so that
memory stays constant in the number of samples and a second run reads no headers.
"""

import glob
import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np

from kdcache.data.index_file import IndexContents, read_index_file, write_index_file
from kdcache.data.samples import IMAGE_EXTS, SampleGrouper
from kdcache.data.tar import scan
from kdcache.digest import sha256_hex, shard_digest
from kdcache.errors import ConfigError, ShardError
from kdcache.store.addresses import demand_no_credentials, public_url

__all__ = ["ShardIndex", "expand_shards", "index_shard"]

_log = logging.getLogger(__name__)


class ShardIndex:
    """Where the samples of one shard are.

    Attributes:
        url: where the shard is.
        name: its file name, by which caches know it.
        digest: sha256 over key, extension and size of all members (``kdcache.digest.shard_digest``).
    """

    def __init__(self, url: str, contents: IndexContents) -> None:
        self.url = url
        self.name = Path(url).name
        self.digest = contents.digest
        self._contents = contents

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an address: a worker maps the file itself."""
        return index_shard, (self.url,)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._contents.table)

    @property
    def num_samples(self) -> int:
        """How many samples the shard holds."""
        return len(self)

    def key(self, row: int) -> str:
        """Return the key of sample ``row``."""
        ends = self._contents.key_ends
        start = int(ends[row - 1]) if row else 0
        return self._contents.keys[start : int(ends[row])].tobytes().decode("utf-8")

    def image_ext(self, row: int) -> str:
        """Return the extension of the sample's image, lower case."""
        return IMAGE_EXTS[int(self._contents.table["ext"][row])]

    def image_span(self, row: int) -> tuple[int, int]:
        """Return (offset, size) of the encoded image in the shard."""
        entry = self._contents.table[row]
        return int(entry["image_offset"]), int(entry["image_size"])

    def label_span(self, row: int) -> tuple[int, int] | None:
        """Return (offset, size) of the label in the shard; None for an unlabelled sample."""
        entry = self._contents.table[row]
        size = int(entry["label_size"])
        return None if size < 0 else (int(entry["label_offset"]), size)

    @property
    def num_labelled(self) -> int:
        """How many samples have a label."""
        return int((self._contents.table["label_size"] >= 0).sum())


class _FileBytes:
    """The bytes of a file, read slice by slice: in a memory map, a disk that fails would kill the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        return os.pread(self._descriptor, stop - start, start) if start < stop else b""


def expand_shards(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the shards that WebDataset patterns name: braces first, then ``*`` and ``?`` on local paths.

    Raises:
        ConfigError: nothing matches, two shards have one file name, the scheme is not supported, or a URL has a user
            name or password in it.
    """
    shards: list[str] = []
    for pattern in patterns:
        demand_no_credentials(pattern)
        for url in _braces(pattern):
            shards.extend(_local_matches(url))
    if not shards:
        raise ConfigError("no shard is named; give at least one, as in 'train-{0000..0127}.tar'")
    _refuse_equal_names(shards)
    return tuple(shards)


def index_shard(url: str) -> ShardIndex:
    """Return the index of a shard, from the kept file when the shard has not changed since.

    Raises:
        ShardError: the shard cannot be read, is broken, or holds something that is no sample.
    """
    stamp = _stamp(url)
    path = _index_path(url)
    contents = read_index_file(path)
    if contents is None or contents.stamp != stamp:
        contents = _kept(path, _build(url, stamp))
    return ShardIndex(url, contents)


def _kept(path: Path, contents: IndexContents) -> IndexContents:
    """Write the index down and map it; where the folder is not ours to write to, go on from memory."""
    try:
        write_index_file(path, contents)
    except OSError as error:
        _warn_of(path.parent, error.strerror or str(error))
        return contents  # what the file holds is another state of the shard
    kept = read_index_file(path)
    return contents if kept is None or kept.stamp != contents.stamp else kept


@cache
def _warn_of(folder: Path, reason: str) -> None:
    """Say once that indexes are made anew in every run; there may be thousands of shards."""
    _log.warning(
        "cannot keep the indexes of shards in %s (%s), so every run scans the shards anew; set KDCACHE_HOME to a "
        "folder that can be written to",
        folder,
        reason,
    )


def _build(url: str, stamp: list[int]) -> IndexContents:
    grouper = SampleGrouper(where=url)
    if not stamp[0]:
        raise ShardError(f"{url}: the shard is an empty file; fetch or pack it again")
    try:
        with Path(url).open("rb") as file:
            grouper.add_all(scan(_FileBytes(file.fileno()), where=url))
    except OSError as error:
        raise ShardError(
            f"cannot read the shard {url}: {error.strerror}; check the path and the disk"
        ) from error
    keys = [key.encode("utf-8") for key in grouper.keys]
    return IndexContents(
        stamp=stamp,
        digest=shard_digest(grouper.members),
        table=grouper.table(),
        key_ends=np.cumsum([len(key) for key in keys], dtype=np.uint64),
        keys=np.frombuffer(b"".join(keys), dtype=np.uint8),
    )


def _stamp(url: str) -> list[int]:
    try:
        status = Path(url).stat()
    except OSError as error:
        raise ShardError(f"cannot read the shard {url}: {error.strerror}; check the path") from error
    return [status.st_size, status.st_mtime_ns]


def _index_path(url: str) -> Path:
    try:
        home = Path(os.environ.get("KDCACHE_HOME") or "~/.cache/kdcache").expanduser()
    except RuntimeError:  # this user has no home: a folder that cannot be written to
        home = Path(os.devnull)
    return home / "indexes" / f"{sha256_hex(str(Path(url).resolve()).encode())[:32]}.idx"


def _braces(pattern: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(pattern, escape=True))
    except ValueError as error:
        raise ConfigError(
            f"the braces of {pattern!r} do not match; write 'train-{{000..146}}.tar'"
        ) from error


def _local_matches(url: str) -> list[str]:
    path = url.removeprefix("file://")
    if "://" in path or path.startswith("pipe:"):
        raise ConfigError(
            f"cannot read shards from {public_url(url)}: this version reads local files; copy the shards first"
        )
    if glob.has_magic(path) and not Path(path).exists():
        found = sorted(glob.glob(path))  # noqa: PTH207 - patterns may be absolute
    else:
        found = [path] if Path(path).is_file() else []
    if not found:
        raise ConfigError(
            f"no shard matches {url!r} (in {Path.cwd() if not path.startswith('/') else '/'}); check the path"
        )
    return found


def _refuse_equal_names(shards: Sequence[str]) -> None:
    by_name: dict[str, str] = {}
    for url in shards:
        name = Path(url).name
        other = by_name.get(name)
        by_name[name] = url
        if other is not None:
            raise ConfigError(
                f"two shards have the name {name!r}: {other} and {url}; a cache knows shards by file "
                "name: give each once, and rename one of two that are equal"
            )
