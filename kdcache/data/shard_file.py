"""The bytes of a shard, wherever it is: a file here, or an object at a remote address."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from kdcache.data.remote_shard import RemoteShard
from kdcache.errors import ShardError

__all__ = ["LocalShard", "ShardBytes", "ShardFile", "is_remote", "shard_file"]

_Span = tuple[int, int]


class Slices(Protocol):
    """Bytes that are read where they are sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> bytes: ...


class ShardBytes(Protocol):
    """An open shard."""

    def read(self, spans: Sequence[_Span]) -> list[bytes]:
        """Return the bytes of each (offset, size).

        Raises:
            ShardError: they cannot be read, or the shard is another one by now.
        """
        ...


class ShardFile(Protocol):
    """A shard that was looked up; it may be pickled."""

    @property
    def url(self) -> str:
        """Where it is, as it was given."""
        ...

    @property
    def address(self) -> str:
        """Where it is, the same for every way to write it."""
        ...

    @property
    def size(self) -> int:
        """Its bytes."""
        ...

    @property
    def stamp(self) -> list[int | str]:
        """What tells its bytes from later ones."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether reading takes time."""
        ...

    def headers(self) -> Slices:
        """Return its bytes for one pass from front to back."""
        ...

    def opened(self, *, alone: bool = False) -> ShardBytes:
        """Return what reads samples; ``alone`` is for remote ones: each sample by a request of its own."""
        ...


class LocalShard:
    """A file; one that was pickled is looked up anew."""

    is_remote = False

    def __init__(self, path: str) -> None:
        self.url = path
        try:
            status = Path(path).stat()
        except OSError as error:
            raise ShardError(f"cannot read the shard {path}: {error.strerror}; check the path") from error
        self.size = status.st_size
        self.stamp: list[int | str] = [status.st_size, status.st_mtime_ns]

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        """Pickle as the path."""
        return type(self), (self.url,)

    @property
    def address(self) -> str:
        """The path from the root on."""
        return str(Path(self.url).resolve())

    def headers(self) -> "_Headers":
        """Return its bytes for one pass from front to back."""
        return _Headers(self.url)

    def opened(self, *, alone: bool = False) -> "_OpenFile":
        """Return what reads samples."""
        del alone
        return _OpenFile(self.url)


class _Headers:
    """The bytes of a file, read slice by slice: in a memory map, a disk that fails would kill the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = Path(path).open("rb")  # noqa: SIM115 - closed with this object
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise self._unread(error) from error

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        try:
            return os.pread(self._file.fileno(), stop - start, start) if start < stop else b""
        except OSError as error:
            raise self._unread(error) from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _unread(self, error: OSError) -> ShardError:
        return ShardError(
            f"cannot read the shard {self._path}: {error.strerror}; check the path and the disk"
        )


class _OpenFile:
    """A file that is opened by the first read and closed with this object."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def read(self, spans: Sequence[_Span]) -> list[bytes]:
        """Return the bytes of each (offset, size)."""
        return [self._part(offset, size) for offset, size in spans]

    def _part(self, offset: int, size: int) -> bytes:
        if self._descriptor is None:
            self._descriptor = self._opened()
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise ShardError(
                f"cannot read {size} bytes at {offset:,} of the shard {self._path}: {error.strerror}; check the "
                "disk and restart"
            ) from error
        if len(data) != size:
            raise ShardError(
                f"{self._path} got shorter while it was in use ({len(data)} of {size} bytes at {offset:,}); "
                "fetch the shard again and restart"
            )
        return data

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ShardError(
                f"cannot open the shard {self._path}, which was indexed before: {error.strerror}; restore it "
                "and restart"
            ) from error


def is_remote(url: str) -> bool:
    """Tell whether a shard is not a file of this machine.

    >>> is_remote("s3://bucket/train-000.tar"), is_remote("file:///data/train-000.tar")
    (True, False)
    """
    return "://" in url.removeprefix("file://") or url.startswith("pipe:")


def shard_file(url: str) -> ShardFile:
    """Look up a shard.

    Raises:
        ShardError: there is none, or it cannot be reached.
    """
    return RemoteShard.at(url) if is_remote(url) else LocalShard(url)
