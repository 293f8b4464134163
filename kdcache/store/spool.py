"""What a run reads of a remote cache again and again, kept in files that all its processes share."""

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from kdcache.digest import sha256_hex

__all__ = ["Spool"]

_log = logging.getLogger(__name__)


class Spool:
    """Bytes by name, in a temporary folder that goes with the process that made it.

    A copy in another process (after a pickle or a fork) uses the same files. Nothing depends on it: what cannot be
    kept is read again.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="kdcache-"))
        except OSError as error:
            _log.warning("there is no temporary folder, so indexes are read more often", exc_info=error)
        else:
            weakref.finalize(self, _remove, self._folder, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        """Take the place along, and not the duty to remove it."""
        return {"_folder": self._folder}

    def get(self, name: str) -> bytes | None:
        """Return what was put under a name, by whatever process."""
        if self._folder is None:
            return None
        try:
            return self._file(self._folder, name).read_bytes()
        except OSError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes, whole or not at all."""
        if self._folder is None:
            return
        temporary = self._folder / f".{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            try:
                temporary.write_bytes(data)
                temporary.replace(self._file(self._folder, name))
            finally:
                temporary.unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Forget what is under a name."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._file(self._folder, name).unlink(missing_ok=True)

    @staticmethod
    def _file(folder: Path, name: str) -> Path:
        return folder / sha256_hex(name.encode())[:32]


def _remove(folder: Path, maker: int) -> None:
    """Remove the folder, unless this is a fork of the process that made it."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)
