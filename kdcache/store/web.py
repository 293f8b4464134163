"""A cache on a plain web server, which hands out files by name and does nothing else.

It cannot be listed, so ``SHA256SUMS``, which ``kdcache push`` and ``kdcache pull`` write, says what is there.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from kdcache.errors import ConfigError, StoreError
from kdcache.runtime.object_requests import Version
from kdcache.runtime.object_schemes import WEB
from kdcache.store.addresses import public_url
from kdcache.store.layout import SUMS_PATH
from kdcache.store.object_store import ObjectStore
from kdcache.store.paths import safe_path
from kdcache.store.remote import RemoteObjects
from kdcache.store.stored import UNKNOWN_SIZE, StoredObject
from kdcache.store.sums import parse_sums

__all__ = ["WEB_SCHEMES", "WebObjects", "demand_writable"]

WEB_SCHEMES: Final = tuple(WEB)

_LARGEST_SUMS: Final = 1 << 26


class WebObjects:
    """Objects under ``https://host/folder``, to be read only. It may be pickled and forked.

    Attributes:
        url: where the objects are.
    """

    def __init__(self, url: str) -> None:
        _demand_plain(url)
        self._objects = RemoteObjects(url)
        self.url = self._objects.url

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        return self._objects.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""
        return self._objects.get_range(path, start, length)

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        return self._objects.size(path)

    def version(self, path: str) -> Version:
        """Return what tells an object from what may have its name later; FileNotFoundError when there is none."""
        return self._objects.version(path)

    def get_version(self, path: str, start: int, length: int, version: Version) -> bytes:
        """Return a range of one version of an object; ChangedError when there is another one by now."""
        return self._objects.get_version(path, start, length, version)

    def put_new(self, path: str, data: bytes) -> bool:  # noqa: ARG002
        """Refuse: nothing can be written here."""
        raise _read_only(f"{self.url}/{path}")

    def replace(self, path: str, data: bytes) -> None:  # noqa: ARG002
        """Refuse: nothing can be written here."""
        raise _read_only(f"{self.url}/{path}")

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:  # noqa: ARG002
        """Refuse: nothing can be written here."""
        raise _read_only(f"{self.url}/{path}")

    def delete(self, path: str) -> None:
        """Refuse: nothing can be written here."""
        raise _read_only(f"{self.url}/{path}")

    def settle(self) -> None:
        """Refuse: nothing can be written here."""
        raise _read_only(self.url)

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield nothing: nobody sees them from here."""
        return iter(())

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the names under the folder ``prefix`` that ``SHA256SUMS`` has, in a stable order; no sizes.

        Raises:
            StoreError: there is no such file, or it is larger than any cache's.
        """
        above = f"{prefix.strip('/')}/".lstrip("/")
        for path in sorted({*self._names(), SUMS_PATH}):
            if path.startswith(above):
                yield StoredObject(path, UNKNOWN_SIZE, 0.0)

    def _names(self) -> Iterator[str]:
        try:
            size = self.size(SUMS_PATH)
            data = self.get_range(SUMS_PATH, 0, size) if size <= _LARGEST_SUMS else b""
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.url} has no {SUMS_PATH}, and a web server lists nothing by itself; a cache served over http "
                "must have been made by kdcache push (or pull) into the folder that is served: push it there from "
                "where it was made, which writes that file"
            ) from error
        if size > _LARGEST_SUMS:
            raise StoreError(
                f"{SUMS_PATH} in {self.url} has {size:,} bytes, but one of a cache has at most {_LARGEST_SUMS:,}; do "
                "not use this cache, fetch it again from where it was published"
            )
        # Lines that say something else prove nothing; a name that no cache has is never asked for.
        return (_known(path, self.url) for path in parse_sums(data))


def demand_writable(objects: ObjectStore) -> None:
    """Refuse a place that is to be read only, before anything is done for it.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(objects, WebObjects):
        raise _read_only(objects.url)


def _read_only(url: str) -> ConfigError:
    return ConfigError(
        f"{url} cannot be written: over http a cache is only read; write to the folder or bucket that the "
        "server has it from, or copy the cache with kdcache pull first"
    )


def _known(path: str, url: str) -> str:
    try:
        return safe_path(path)
    except ValueError as error:
        raise StoreError(
            f"{SUMS_PATH} in {url} is not one of a cache: {error}; fetch the cache from elsewhere"
        ) from error


def _demand_plain(url: str) -> None:
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ConfigError(
            f"the address {public_url(url)} was given with '?' or '#' and more, but each file of a cache has an "
            "address of its own, made by adding its name; give the folder's address alone"
        )
    if not parts.hostname:
        raise ConfigError(f"the address {url} names no host; write http(s)://host/folder")
