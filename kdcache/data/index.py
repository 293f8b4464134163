"""The index of a shard: key, image and label of every sample, from one strict pass over the tar's headers.

It is kept as one memory-mapped file per shard under ``$KDCACHE_HOME`` (default ``~/.cache/kdcache``), so that
memory stays constant in the number of samples and a second run reads no headers. Of a remote shard the first pass reads
all bytes, in pieces of some megabytes.
"""

import glob
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np
from numpy.typing import NDArray

from kdcache.data.index_file import IndexContents, read_index_file, write_index_file
from kdcache.data.remote_shard import demand_readable
from kdcache.data.samples import IMAGE_EXTS, SampleGrouper
from kdcache.data.shard_file import ShardFile, is_remote, shard_file
from kdcache.data.tar import scan
from kdcache.digest import sha256_hex, shard_digest
from kdcache.errors import ConfigError, ShardError
from kdcache.store.addresses import demand_no_credentials

__all__ = ["ShardIndex", "expand_shards", "index_shard", "index_shards"]

_log = logging.getLogger(__name__)

_REMOTE_AT_ONCE = 8
_MAPPED_AT_ONCE = 16
"""Indexes that are mapped at a time: each holds a descriptor, and there may be thousands of shards."""


class ShardIndex:
    """Where the samples of one shard are.

    Attributes:
        url: where the shard is.
        file: its bytes.
        name: its file name, by which caches know it.
        digest: sha256 over key, extension and size of all members (``kdcache.digest.shard_digest``).
        num_samples: how many samples the shard holds.
    """

    def __init__(self, file: ShardFile, contents: IndexContents, *, kept: str | None) -> None:
        """Remember what is short; ``kept`` is the file that the rest is mapped from, None to keep it in memory."""
        self.file, self.url = file, file.url
        self.name = Path(file.url).name
        self.digest = contents.digest
        self.num_samples = len(contents.table)
        self._kept = None if kept is None else (kept, tuple(contents.stamp))
        self._in_memory = contents if kept is None else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an address: a worker maps the file itself."""
        return _indexed, (self.file,)

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.num_samples

    @property
    def _contents(self) -> IndexContents:
        if self._in_memory is None:
            assert self._kept is not None, "an index is in memory or in a file"
            try:
                return _mapped(*self._kept)
            except LookupError:
                self._in_memory = self._scan_again()
        return self._in_memory

    def _scan_again(self) -> IndexContents:
        contents = _build(self.file)
        if contents.digest != self.digest:
            raise ShardError(
                f"{self.url}: the shard was replaced while it was in use: its digest is {contents.digest[:12]}, not "
                f"{self.digest[:12]} as at first; start again with shards that nobody changes"
            )
        return contents

    def key(self, row: int) -> str:
        """Return the key of sample ``row``."""
        contents = self._contents
        start = int(contents.key_ends[row - 1]) if row else 0
        return contents.keys[start : int(contents.key_ends[row])].tobytes().decode("utf-8")

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

    def extents(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where images and labels of some samples begin, and where each ends."""
        table = self._contents.table[rows]
        starts, sizes = (
            np.concatenate([table[f"{part}_{what}"].astype(np.int64) for part in ("image", "label")])
            for what in ("offset", "size")
        )
        return starts[sizes > 0], (starts + sizes)[sizes > 0]


def expand_shards(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the shards that WebDataset patterns name: braces first, then ``*`` and ``?`` on local paths.

    Whether there is anything at a remote address shows when it is indexed.

    Raises:
        ConfigError: nothing matches, two shards have one file name, the scheme is not supported, or a URL has a user
            name or password in it.
    """
    shards: list[str] = []
    for pattern in patterns:
        demand_no_credentials(pattern)
        for url in _braces(pattern):
            shards.extend(_matches(url))
    if not shards:
        raise ConfigError("no shard is named; give at least one, as in 'train-{0000..0127}.tar'")
    _refuse_equal_names(shards)
    return tuple(shards)


def index_shard(url: str) -> ShardIndex:
    """Return the index of a shard, from the kept file when the shard has not changed since.

    Raises:
        ShardError: the shard cannot be read, is broken, or holds something that is no sample.
    """
    return _indexed(shard_file(url))


def index_shards(urls: Sequence[str]) -> list[ShardIndex]:
    """Return the indexes of several shards; remote ones are looked up and read some at a time.

    Raises:
        ShardError: as ``index_shard``, for the first shard of which it does.
    """
    if not any(map(is_remote, urls)):
        return [index_shard(url) for url in urls]
    pool = ThreadPoolExecutor(_REMOTE_AT_ONCE, thread_name_prefix="kdcache-index")
    try:
        return list(pool.map(index_shard, urls))
    finally:
        pool.shutdown(cancel_futures=True)


def _indexed(file: ShardFile) -> ShardIndex:
    path = _index_path(file)
    contents = read_index_file(path)
    if contents is not None and contents.stamp == file.stamp:
        return ShardIndex(file, contents, kept=str(path))
    contents = _build(file)
    try:
        write_index_file(path, contents)
    except OSError as error:
        _warn_of(path.parent, error.strerror or str(error))
        return ShardIndex(file, contents, kept=None)  # what the file holds is another state of the shard
    return ShardIndex(file, contents, kept=str(path))


@lru_cache(maxsize=_MAPPED_AT_ONCE)
def _mapped(path: str, stamp: tuple[int | str, ...]) -> IndexContents:
    """Map a kept index.

    Raises:
        LookupError: it is gone, or that of another state of the shard, where samples may lie elsewhere.
    """
    contents = read_index_file(Path(path))
    if contents is None or tuple(contents.stamp) != stamp:
        raise LookupError(path)
    return contents


@cache
def _warn_of(folder: Path, reason: str) -> None:
    """Say once that indexes are made anew in every run; there may be thousands of shards."""
    _log.warning(
        "cannot keep the indexes of shards in %s (%s), so every run scans the shards anew; set KDCACHE_HOME to a "
        "folder that can be written to",
        folder,
        reason,
    )


def _build(file: ShardFile) -> IndexContents:
    grouper = SampleGrouper(where=file.url)
    if not file.size:
        raise ShardError(f"{file.url}: the shard is an empty file; fetch or pack it again")
    grouper.add_all(scan(file.headers(), where=file.url))
    keys = [key.encode("utf-8") for key in grouper.keys]
    return IndexContents(
        stamp=file.stamp,
        digest=shard_digest(grouper.members),
        table=grouper.table(),
        key_ends=np.cumsum([len(key) for key in keys], dtype=np.uint64),
        keys=np.frombuffer(b"".join(keys), dtype=np.uint8),
    )


def _index_path(file: ShardFile) -> Path:
    try:
        home = Path(os.environ.get("KDCACHE_HOME") or "~/.cache/kdcache").expanduser()
    except RuntimeError:  # this user has no home: a folder that cannot be written to
        home = Path(os.devnull)
    return home / "indexes" / f"{sha256_hex(file.address.encode())[:32]}.idx"


def _braces(pattern: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(pattern, escape=True))
    except ValueError as error:
        raise ConfigError(
            f"the braces of {pattern!r} do not match; write 'train-{{000..146}}.tar'"
        ) from error


def _matches(url: str) -> list[str]:
    if is_remote(url):
        demand_readable(url)
        return [url]
    path = url.removeprefix("file://")
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
