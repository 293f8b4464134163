"""Requests to an object store by obstore, in this process.

obstore answers every request on threads of its own, which are started by the first one and which a fork does not
copy: a child that was forked later would wait for ever, and make its parent do so (``kdcache.runtime.object_process``
is for those).
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from kdcache.errors import ConfigError
from kdcache.runtime.object_schemes import BUCKETS, WEB, Scheme, scheme_of
from kdcache.runtime.web_reads import TooLargeError, read_range, read_whole

__all__ = ["ChangedError", "Entries", "ObstoreRequests", "RequestError", "Requests", "Version"]

Entries = list[tuple[str, int, float]]
"""Path, size and Unix time of what a listing found."""
Version = list[int | str]
"""Size and entity tag of an object (or when it was last modified): other bytes have another one."""

_CONNECT_SECONDS = 5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_MOST_RETRIES = 10_000
"""The time decides; obstore would give up after ten, which takes three seconds where a server refuses."""
_CUT_OFF = ("kind: Interrupted", "kind: Body", "kind: Request", "IncompleteMessage", "response body error")
_BEYOND_THE_END = ("416 ", "Wanted range starting at")

T = TypeVar("T")


class RequestError(Exception):
    """What server or network had to say, in one line."""


class ChangedError(Exception):
    """An object is not the one that was asked for any more; what it is now, in words."""


class Requests(Protocol):
    """Performs requests, here or in another process."""

    def perform(self, name: str, path: str, **values: int | str | bytes) -> Any:
        """Perform a request by the name of its method in ``ObstoreRequests``.

        Raises:
            FileNotFoundError: there is no such object.
            RequestError: it failed, also when it was repeated for as long as is allowed.
            ChangedError: the object has another version than the request names.
            ConfigError: the address cannot be used at all.
        """
        ...


class ObstoreRequests:
    """A client of one address; ``timeout`` bounds a request in seconds, repetitions included."""

    def __init__(self, url: str, timeout: float) -> None:
        scheme = scheme_of(url)
        if scheme is None:
            forms = ", ".join(BUCKETS[name].form for name in ("s3", "gs", "az"))
            raise ConfigError(f"cannot use {url}: it is no address of an object store; write {forms}")
        self._api = _obstore(url)
        self._timeout = timeout
        self._is_web = scheme in WEB.values()
        self._store = _connect(self._api, url, scheme, timeout)

    def perform(self, name: str, path: str, **values: int | str | bytes) -> Any:
        """Perform one request, repeated as far as it makes sense."""
        request = getattr(self, name)
        try:
            return self._repeated(lambda: request(path, **values))
        except FileNotFoundError:
            raise
        except (self._api.exceptions.BaseError, TooLargeError) as error:
            raise RequestError(_first_line(error)) from error

    def get(self, path: str) -> bytes:
        """Return a whole object."""
        if self._is_web:
            return read_whole(self._api, self._store, path)
        return bytes(self._api.get(self._store, path).bytes())

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return what there is of a range."""
        try:
            if self._is_web:
                return read_range(self._api, self._store, path, start, length)
            return bytes(self._api.get_range(self._store, path, start=start, length=length))
        except self._api.exceptions.GenericError as error:
            # Servers refuse a range that begins beyond the end; a file gives nothing.
            if not _is_beyond_the_end(error) or start < self.size(path):
                raise
            return b""

    def size(self, path: str) -> int:
        """Return an object's size."""
        return int(self._api.head(self._store, path)["size"])

    def version(self, path: str) -> Version:
        """Return what tells an object from what may have its name later."""
        return _version(self._api.head(self._store, path))

    def get_version(self, path: str, start: int, length: int, size: int, tag: str) -> bytes:
        """Return a range of the version (size, tag) of an object, in one request."""
        try:
            there = self._api.get(self._store, path, options={"range": (start, start + length)})
        except self._api.exceptions.GenericError as error:
            if not _is_beyond_the_end(error):
                raise
            raise ChangedError(_in_words(self.version(path))) from error
        found = _version(there.meta)
        if found != [size, tag]:
            raise ChangedError(_in_words(found))
        return bytes(there.bytes())

    def put_new(self, path: str, data: bytes) -> bool:
        """Create an object; False when there is one."""
        try:
            self._api.put(self._store, path, data, mode="create", use_multipart=False)
        except (self._api.exceptions.AlreadyExistsError, self._api.exceptions.PreconditionError):
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Put an object, whatever was there."""
        self._api.put(self._store, path, data, use_multipart=False)

    def swap(self, path: str, old: bytes, new: bytes) -> bool:
        """Put an object in place of the one that holds ``old``; False when it holds something else."""
        there = self._api.get(self._store, path)
        version = {name: there.meta[name] for name in ("e_tag", "version") if there.meta.get(name)}
        if bytes(there.bytes()) != old:
            return False
        try:
            self._api.put(self._store, path, new, mode=version, use_multipart=False)
        except (self._api.exceptions.PreconditionError, self._api.exceptions.AlreadyExistsError):
            return False
        return True

    def entries(self, path: str) -> Entries:
        """Return what is under a folder."""
        return [
            (str(entry["path"]), int(entry["size"]), entry["last_modified"].timestamp())
            for chunk in self._api.list(self._store, path)
            for entry in chunk
        ]

    def delete(self, path: str) -> None:
        """Remove an object."""
        self._api.delete(self._store, path)

    def _repeated(self, request: Callable[[], T]) -> T:
        """Repeat what obstore does not: answers that are cut off, and writes whose answer was lost.

        Nothing here can be done twice: a create that finds its own object is told that the name is taken, and
        whoever asked compares.
        """
        deadline = time.monotonic() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return request()
            except self._api.exceptions.GenericError as error:
                if not _is_cut_off(error) or time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause *= 2


def _obstore(url: str) -> Any:
    try:
        import obstore  # noqa: PLC0415 - an extra: local caches need none of it
        import obstore.exceptions  # noqa: PLC0415
        import obstore.store  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"{url} needs obstore; install it with: pip install 'kdcache[s3]'") from error
    return obstore


def _connect(api: Any, url: str, scheme: Scheme, timeout: float) -> Any:
    # obstore would take some web addresses for a bucket's.
    make = api.store.HTTPStore if scheme in WEB.values() else api.store.from_url
    seconds = timedelta(seconds=timeout)
    try:
        return make(
            url,
            client_options={
                "timeout": seconds,
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, timeout)),
                "allow_http": scheme.allows_plain_http(url),
            },
            retry_config={
                "retry_timeout": seconds,
                "max_retries": _MOST_RETRIES,
                "backoff": {"max_backoff": timedelta(seconds=min(_LONGEST_PAUSE, timeout / 4))},
            },
        )
    except (api.exceptions.BaseError, ValueError) as error:
        raise ConfigError(
            f"cannot use {url}: {_first_line(error)}; write {scheme.form}, and check {scheme.look}"
        ) from error


def _version(meta: Any) -> Version:
    # A proxy that compresses makes a tag weak, and the bytes are those of the strong one.
    tag = (meta["e_tag"] or "").removeprefix("W/")
    return [int(meta["size"]), tag or meta["last_modified"].isoformat()]


def _in_words(version: Version) -> str:
    return f"it has {version[0]:,} bytes and the tag {version[1]}"


def _is_beyond_the_end(error: BaseException) -> bool:
    return any(mark in str(error) for mark in _BEYOND_THE_END)


def _is_cut_off(error: BaseException) -> bool:
    # obstore has one class for all that goes wrong on the way; what a server refused is told by its text.
    text = str(error)
    return any(mark in text for mark in _CUT_OFF)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
