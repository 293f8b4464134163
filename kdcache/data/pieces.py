"""Pieces of remote shards that were read, in a temporary folder that all processes of a run share.

A shuffle window is read in random order, and its pieces come a few at a time: they wait on a disk, not in memory. What
was used longest ago gives way when the space is used up.
"""

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from kdcache.data.read_ahead import ReadAhead
from kdcache.errors import ConfigError
from kdcache.store.read_once import ReadOnce

__all__ = ["Pieces", "Source", "pieces_of_this_run"]

_log = logging.getLogger(__name__)

_SPACE_VARIABLE = "KDCACHE_SHARD_SPACE"
_MOST_SPACE = 64 << 30
_LEAST_SPACE = 10**9
_IN_MEMORY = 4
_LATER_THREADS = 2
_PREFIX = "kdcache-shards-"
_OWNER = ".owner"
_BEING_MADE_SECONDS = 60.0
_WAIT_SECONDS = 0.01


class Source(Protocol):
    """What has pieces; equal for equal bytes."""

    def __hash__(self) -> int: ...

    def piece(self, number: int) -> bytes:
        """Read a piece from where it is."""
        ...

    def piece_name(self, number: int) -> str:
        """Return a file name that no other piece has."""
        ...


class Pieces:
    """Pieces by source and number. Each is asked for once, by whichever process needs it first.

    Copies in other processes, after a fork or a pickle, use the same folder; it goes with the process that made it, and
    when that was killed, with the next run on the machine.

    Attributes:
        limit: so many bytes are kept on the disk; 0: none are.
    """

    def __init__(self, folder: Path | None, limit: int) -> None:
        self.limit = limit if folder is not None else 0
        self._folder = folder
        self._read: ReadOnce[bytes] = ReadOnce(self._fetch, size=_IN_MEMORY)
        self._soon, self._later = ReadAhead(), ReadAhead(threads=_LATER_THREADS)
        self._unseen = self.limit
        self._asked: set[tuple[int, str]] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the place."""
        return _shared, (self._folder, self.limit)

    def part(self, source: Source, number: int, start: int, stop: int) -> bytes:
        """Return bytes [start, stop) of a piece."""
        found = self._kept(source.piece_name(number), start, stop)
        return self._read(source, number)[start:stop] if found is None else found

    def ahead(self, source: Source, number: int, *, later: bool = False) -> None:
        """Have a piece read by another thread; ``later``: behind all that is needed sooner."""
        name = source.piece_name(number)
        asked = (os.getpid(), name)  # threads that were to read do not survive a fork
        if asked not in self._asked and not self._has(name):
            self._asked.add(asked)
            (self._later if later else self._soon).ask(self._read, source, number)

    def _fetch(self, source: Source, number: int) -> bytes:
        name = source.piece_name(number)
        try:
            if not self.limit:
                return source.piece(number)
            with self._claimed(name):
                found = self._kept(name, 0, None)
                if found is None:
                    found = source.piece(number)
                    self._keep(name, found)
                return found
        finally:
            self._asked.discard((os.getpid(), name))

    def _file(self, name: str) -> Path:
        assert self._folder is not None, "asked only where there is space"
        return self._folder / name

    def _has(self, name: str) -> bool:
        return bool(self.limit) and self._file(name).exists()

    def _kept(self, name: str, start: int, stop: int | None) -> bytes | None:
        if not self.limit:
            return None
        try:
            with self._file(name).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                os.utime(file.fileno())  # what was used last stays longest
                return os.pread(file.fileno(), (size if stop is None else stop) - start, start)
        except OSError:
            return None

    @contextlib.contextmanager
    def _claimed(self, name: str) -> Iterator[None]:
        """Keep other processes from reading the same piece meanwhile; the claim ends with this process."""
        lock = self._file(f".{name}")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield  # then it may be read twice
            return
        try:
            with contextlib.suppress(OSError):
                _lock_for_this_process(descriptor)
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(descriptor)

    def _keep(self, name: str, data: bytes) -> None:
        temporary = self._file(f".{secrets.token_hex(8)}")
        try:
            self._make_room(len(data))
            try:
                temporary.write_bytes(data)
                temporary.replace(self._file(name))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            self.limit = 0
            _log.warning(
                "cannot keep pieces of shards in %s (%s), so they are asked for again whenever they are needed; set "
                "TMPDIR to a folder with space, or %s to fewer gigabytes",
                self._folder,
                error.strerror,
                _SPACE_VARIABLE,
            )

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago; looking is cheap, but not free, so not every piece looks."""
        assert self._folder is not None, "asked only where there is space"
        self._unseen += size
        if self._unseen <= self.limit // 256:
            return
        self._unseen = size
        found = [entry for entry in os.scandir(self._folder) if not entry.name.startswith(".")]
        files = []
        for entry in found:
            with contextlib.suppress(FileNotFoundError):
                files.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        too_many = sum(file[1] for file in files) + size - self.limit
        for _, file_size, path in sorted(files):
            if too_many <= 0:
                break
            Path(path).unlink(missing_ok=True)
            too_many -= file_size


_all: "weakref.WeakValueDictionary[Path | None, Pieces]" = weakref.WeakValueDictionary()
_lock = threading.RLock()


def pieces_of_this_run() -> Pieces:
    """Return the pieces that this process shares with those it came from; made when there are none.

    Raises:
        ConfigError: ``KDCACHE_SHARD_SPACE`` is no number of gigabytes.
    """
    with _lock:
        found = next(iter(_all.values()), None)
        return _made() if found is None else found


def _lock_for_this_process(descriptor: int) -> None:
    """Lock a file until it is closed; a fork of this process does not hold the lock."""
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            # The kernel takes two threads of a process for one, so it sees dead locks where there are none.
            if error.errno != errno.EDEADLK:
                raise
            time.sleep(_WAIT_SECONDS)
        else:
            return


def _shared(folder: Path | None, limit: int) -> Pieces:
    with _lock:
        found = _all.get(folder)
        if found is None:
            found = _all[folder] = Pieces(folder, limit)
        return found


def _made() -> Pieces:
    wanted = _wanted_space()
    try:
        top = Path(tempfile.gettempdir())
        _remove_orphans(top)
        half = shutil.disk_usage(top).free // 2 // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
        limit = min(_MOST_SPACE, half) if wanted is None else wanted
        if limit < _LEAST_SPACE:
            return _shared(None, 0)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        _log.warning("there is no temporary folder, so pieces of shards are read more often", exc_info=error)
        return _shared(None, 0)
    made = _shared(folder, limit)
    weakref.finalize(made, _remove, folder, owner, os.getpid())
    return made


def _wanted_space() -> int | None:
    text = os.environ.get(_SPACE_VARIABLE, "")
    if not text:
        return None
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e6:
        raise ConfigError(f"{_SPACE_VARIABLE} is {text!r}, expected a number of gigabytes, 0 for none")
    return int(gigabytes * 1e9)


def _remove_orphans(top: Path) -> None:
    """Remove the folders of runs that were killed: nobody holds their lock."""
    for folder in top.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_mtime < time.time() - _BEING_MADE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _remove(folder: Path, owner: int, maker: int) -> None:
    """Remove the folder, unless this is a fork of the process that made it."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)
