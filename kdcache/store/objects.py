"""Where the objects of a cache live: whole files that are put once and never changed.

A put publishes all bytes of an object or nothing, and never over an existing one: that is what lets any
number of writers start, race and die without blending their work.
"""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kdcache.errors import ConfigError, StoreError
from kdcache.store.addresses import demand_no_credentials, public_url
from kdcache.store.local_files import Folder, demand_plain, open_plain, plain_size
from kdcache.store.object_store import ObjectStore
from kdcache.store.pin import split_pin
from kdcache.store.schemes import FORMS, OPENERS
from kdcache.store.stored import StoredObject

__all__ = ["LocalObjects", "ObjectStore", "open_objects"]

_TEMPORARY = ".tmp-"
_ZARR_TEMPORARY = ".partial"


class LocalObjects:
    """Objects as files below one folder. It holds no open file, so it may be pickled and forked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self._folder = Folder(root)
        self._durable: set[Path] = set()

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        try:
            with os.fdopen(open_plain(self._folder.inside(path)), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._unread(path, error) from error

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""
        try:
            descriptor = open_plain(self._folder.inside(path))
            try:
                return os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unread(path, error) from error

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        try:
            return plain_size(self._folder.inside(path))
        except OSError as error:
            raise self._unread(path, error) from error

    def put_new(self, path: str, data: bytes) -> bool:
        """Publish a new object whole and durably; False, and nothing changed, when the name is taken.

        Raises:
            StoreError: the disk is full, the folder may not be written, or its file system has no hard links.
        """
        with self._explained(path):
            target = Path(self._folder.inside(path))
            self._make_folder(target.parent)
            is_new = not target.exists() and self._linked(target, data)
            # Also a name that is taken: whoever took it may have died, or still stand, before it was durable.
            _sync_folder(target.parent)
            return is_new

    def replace(self, path: str, data: bytes) -> None:
        """Publish an object whole and durably, in place of the one that has the name."""
        with self._explained(path):
            target = Path(self._folder.inside(path))
            with self._written(target, data) as temporary:
                temporary.replace(target)
                _sync_folder(target.parent)

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:
        """Publish ``new`` if the object still holds ``old`` (None: if there is none); else False."""
        with self._locked():
            try:
                there: bytes | None = self.get(path)
            except FileNotFoundError:
                there = None
            if there != old:
                return False
            self.replace(path, new)
            return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object under the folder ``prefix``, in a stable order."""
        return (entry for entry in self._files(prefix) if not _is_leftover(entry.path))

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield temporary files, ours and zarr's."""
        return (entry for entry in self._files("") if _is_leftover(entry.path))

    def _files(self, prefix: str) -> Iterator[StoredObject]:
        try:
            top = self._folder.inside(f"{prefix.strip('/')}/x".lstrip("/")).removesuffix("/x")
            for folder, folders, names in os.walk(top, onerror=_demand_listed):
                folders.sort()
                for name in sorted([*folders, *names]):
                    file = f"{folder}/{name}"  # a Path takes three times as long
                    with contextlib.suppress(FileNotFoundError):  # another writer's temporary file
                        status = os.lstat(file)
                        demand_plain(file, status.st_mode)
                        if stat.S_ISREG(status.st_mode):
                            path = file.removeprefix(f"{self.root}/")
                            yield StoredObject(path, status.st_size, status.st_mtime)
        except OSError as error:
            raise self._unread(prefix, error) from error

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError when there is none."""
        with self._explained(path), contextlib.suppress(FileNotFoundError):
            Path(self._folder.inside(path)).unlink()
            return
        raise FileNotFoundError(path)

    def settle(self) -> None:
        """Sync every folder."""
        with self._explained(""):
            for folder, _, _ in os.walk(self.root, onerror=_demand_listed):
                _sync_folder(Path(folder))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the folder; it ends with the process that holds it, so a kill leaves none."""
        with self._explained(""):
            self._make_folder(self.root)
            descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A file system without locks only loses the guard against two runs that add a teacher at once.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _linked(self, target: Path, data: bytes) -> bool:
        with self._written(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        return True

    @contextlib.contextmanager
    def _written(self, target: Path, data: bytes) -> Iterator[Path]:
        self._make_folder(target.parent)
        temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder so that it survives a power cut: its name is part of its parent.

        One that is there counts once this process has synced its parent: whoever made it may not have done so.
        """
        is_there, is_above = folder.is_dir(), self.root != folder and self.root not in folder.parents
        if is_there and (is_above or folder in self._durable or folder == folder.parent):
            return
        self._make_folder(folder.parent)
        if not is_there:
            folder.mkdir(exist_ok=True)
        with contextlib.suppress(PermissionError):  # above the cache may be a folder that nobody may list
            _sync_folder(folder.parent)
        self._durable.add(folder)

    def _unread(self, path: str, error: OSError) -> Exception:
        """Return what to raise: a disk that fails must not be taken for a cache that holds less."""
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return FileNotFoundError(path)
        return StoreError(
            f"cannot read {self.root / path}: {error.strerror}; check the disk and the permissions"
        )

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write {self.root / path}: {error.strerror}; what is committed already is safe: "
                "free space, check the permissions (the file system must have hard links), "
                "and run the same command again"
            ) from error


def _demand_listed(error: OSError) -> None:
    """Go on past a folder that is not there, and nothing else; ``os.walk`` would hide every error."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def open_objects(url: str | Path) -> ObjectStore:
    """Return the objects at a local path or a URL of one of ``OPENERS``; nothing is read or made yet.

    Raises:
        ConfigError: the URL has a scheme that this version cannot use, a user name or password in it, or is pinned to
            a content id.
    """
    text, pin = split_pin(url)
    demand_no_credentials(text)
    if pin is not None:
        raise ConfigError(
            f"{url} is pinned to a content id, which commands that only read a cache can check; leave {pin} out"
        )
    parts = urlsplit(text)
    if "://" not in text:
        return LocalObjects(Path(text).expanduser())
    if parts.scheme in OPENERS:
        return OPENERS[parts.scheme](text)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise ConfigError(
            f"cannot open a cache at {public_url(text)}: this version knows local folders (a path or file:///path), "
            f"{', '.join(FORMS)}; copy the cache to one of them first"
        )
    return LocalObjects(Path(unquote(parts.path)))


def _is_leftover(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(_TEMPORARY) or name.endswith(_ZARR_TEMPORARY)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
