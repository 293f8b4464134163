"""A shard at a remote address: read in pieces of some megabytes, and always the version that was indexed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from kdcache.data.pieces import Pieces, pieces_of_this_run
from kdcache.digest import sha256_hex
from kdcache.errors import ConfigError, ShardError, StoreError
from kdcache.runtime.object_requests import ChangedError, Version
from kdcache.store.addresses import public_url
from kdcache.store.objects import open_objects

__all__ = ["RemoteShard", "demand_readable"]

PIECE_BYTES = 8 << 20
"""Few requests for a window, and little that is read in vain: some 70 images of ImageNet."""
_NEAR_BYTES = 256 << 10
_NEAR_PIECES = 16
_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "GOOGLE_BASE_URL",
    "KDCACHE_REMOTE_TIMEOUT",
)
"""What decides which server a client asks, and for how long."""

_Span = tuple[int, int]


@runtime_checkable
class _Versioned(Protocol):
    """Objects that can be told from those that have their names later."""

    def version(self, path: str) -> Version: ...

    def get_version(self, path: str, start: int, length: int, version: Version) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """The bytes that a shard had when it was looked up; it may be pickled, forked and used by several threads.

    Attributes:
        url: where it is.
        size: its bytes.
        tag: the server's entity tag, or when it was last modified.
        pieces: where those that were read are kept.
    """

    url: str
    size: int
    tag: str
    pieces: Pieces = field(compare=False, repr=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """Look up a shard.

        Raises:
            ConfigError: this version cannot read from there.
            ShardError: there is no shard, or the server does not answer.
        """
        demand_readable(url)
        folder, _, name = url.rpartition("/")
        try:
            size, tag = _objects(folder).version(name)
        except FileNotFoundError as error:
            raise ShardError(
                f"cannot read the shard {url}: there is none; check the address, and AWS_ENDPOINT_URL"
            ) from error
        except StoreError as error:
            raise ShardError(f"cannot read a shard: {error}") from error
        return cls(url, int(size), str(tag), pieces_of_this_run())

    @property
    def address(self) -> str:
        """Where it is, the same for every way to write it."""
        return self.url

    @property
    def stamp(self) -> list[int | str]:
        """Size and tag: what tells its bytes from later ones."""
        return [self.size, self.tag]

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    @property
    def piece_bytes(self) -> int:
        """The bytes of a piece."""
        return PIECE_BYTES

    def pieces_with(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[int]:
        """Return the numbers of the pieces that these bytes begin and end in."""
        numbers: list[int] = np.unique(np.concatenate([starts, stops - 1]) // PIECE_BYTES).tolist()
        return numbers

    def headers(self) -> "_Slices":
        """Return its bytes for one pass from front to back."""
        return _Slices(self)

    def opened(self, *, alone: bool = False) -> "_InPieces | _Alone":
        """Return what reads samples; ``alone``: each by a request of its own, and nothing beside it."""
        return _Alone(self) if alone else _InPieces(self)

    def piece(self, number: int) -> bytes:
        """Read a piece from where it is."""
        start = number * PIECE_BYTES
        return self.fetched(start, min(start + PIECE_BYTES, self.size))

    def piece_name(self, number: int) -> str:
        """Return a file name that no other piece has."""
        version = f"{self.url} {self.size} {self.tag} {PIECE_BYTES}"
        return f"{sha256_hex(version.encode())[:32]}-{number}"

    def fetched(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop), by one request.

        Raises:
            ShardError: they are not those of the shard that was looked up, or the server does not answer.
        """
        folder, _, name = self.url.rpartition("/")
        try:
            data = _objects(folder).get_version(name, start, stop - start, self.stamp)
        except FileNotFoundError as error:
            raise ShardError(
                f"the shard {self.url}, which was there before, is gone; put it back and restart"
            ) from error
        except ChangedError as error:
            raise ShardError(
                f"the shard {self.url} was changed while it was in use: {error}, and it had {self.size:,} bytes "
                f"and the tag {self.tag}; put back the one that was there, or restart to have it indexed anew"
            ) from error
        except StoreError as error:
            raise ShardError(f"cannot read a shard: {error}") from error
        if len(data) != stop - start:
            raise ShardError(
                f"the server of {self.url} gave {len(data):,} of {stop - start:,} bytes at {start:,}; check the server "
                "and restart"
            )
        return data


class _Slices:
    """All bytes of a shard, with one piece in memory."""

    def __init__(self, shard: RemoteShard) -> None:
        self._shard, self._number, self._data = shard, -1, b""

    def __len__(self) -> int:
        return self._shard.size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        found = []
        while start < stop:
            number = start // PIECE_BYTES
            if number != self._number:
                self._data, self._number = self._shard.piece(number), number
            inside = start - number * PIECE_BYTES
            found.append(self._data[inside : inside + stop - start])
            start += len(found[-1])
        return b"".join(found)


class _InPieces:
    """Reads by pieces, and has the next one fetched when it goes forward."""

    def __init__(self, shard: RemoteShard) -> None:
        self._shard, self._last = shard, -1

    def read(self, spans: Sequence[_Span]) -> list[bytes]:
        """Return the bytes of each (offset, size)."""
        return [self._part(offset, offset + size) for offset, size in spans]

    def _part(self, start: int, stop: int) -> bytes:
        pieces, found = self._shard.pieces, []
        while start < stop:
            number = start // PIECE_BYTES
            first = number * PIECE_BYTES
            end = min(stop, first + PIECE_BYTES)
            if number != self._last:
                self._go_on(number)
            found.append(pieces.part(self._shard, number, start - first, end - first))
            start = end
        return b"".join(found)

    def _go_on(self, number: int) -> None:
        is_forward = self._last < number <= self._last + _NEAR_PIECES
        if is_forward and (number + 1) * PIECE_BYTES < self._shard.size:
            self._shard.pieces.ahead(self._shard, number + 1)
        self._last = number


class _Alone:
    """Reads what is asked for by one request, if it lies together."""

    def __init__(self, shard: RemoteShard) -> None:
        self._shard = shard

    def read(self, spans: Sequence[_Span]) -> list[bytes]:
        """Return the bytes of each (offset, size)."""
        start = min(offset for offset, _ in spans)
        stop = max(offset + size for offset, size in spans)
        if stop - start > sum(size for _, size in spans) + _NEAR_BYTES:
            return [self._shard.fetched(offset, offset + size) if size else b"" for offset, size in spans]
        data = self._shard.fetched(start, stop) if start < stop else b""
        return [data[offset - start : offset - start + size] for offset, size in spans]


def demand_readable(url: str) -> None:
    """Refuse an address that shards cannot be read from.

    Raises:
        ConfigError: it is a command, names no file, has a wildcard or a query, or is of a kind that nothing here opens.
    """
    what = f"cannot read shards from {public_url(url)}"
    if url.startswith("pipe:"):
        raise ConfigError(f"{what}: it is a command, and none is run; copy the shards to a disk or a bucket")
    if any(mark in url for mark in "*?#"):
        raise ConfigError(
            f"{what}: a remote address takes no * or ?, and no query; write s3://bucket/train-{{000..146}}.tar, and "
            "give credentials in the environment"
        )
    parts = urlsplit(url)
    if not parts.netloc or not parts.path.rpartition("/")[2]:
        raise ConfigError(f"{what}: it names no file; write s3://bucket/train-{{000..146}}.tar")
    _objects(url.rpartition("/")[0])


def _objects(folder: str) -> _Versioned:
    """Return the objects of a folder: one client for all its shards, as long as the server is the same."""
    return _client(folder, tuple(os.environ.get(name) for name in _SETTINGS))


@lru_cache(maxsize=16)
def _client(folder: str, settings: tuple[str | None, ...]) -> _Versioned:
    del settings
    try:
        objects: object = open_objects(folder)
    except ConfigError:
        objects = None
    if not isinstance(objects, _Versioned):
        raise ConfigError(
            f"cannot read shards from {public_url(folder)}: this version opens no shards at "
            f"{urlsplit(folder).scheme}:// addresses; copy them to a disk or to a bucket (s3://) first"
        )
    return objects
