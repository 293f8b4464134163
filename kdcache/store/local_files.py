"""Files below a cache's folder, opened so that nothing in the folder can lead out of it.

A folder that somebody else filled may hold links to any file, named pipes that block whoever opens them, and devices
that never end. Nothing but plain files in plain folders is opened, listed, written next to or removed. The cache's own
folder may be reached through links: that path is the user's.
"""

import os
import stat
from pathlib import Path
from typing import Final

from kdcache.errors import StoreError

__all__ = ["Folder", "demand_plain", "open_plain", "plain_size"]

_FOLDERS_KEPT: Final = 4096
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Folder:
    """The folder of one cache, and which of the folders in it are known to be plain."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._text = str(root)
        self._plain: set[str] = set()

    def __reduce__(self) -> tuple[type["Folder"], tuple[Path]]:
        """Leave what is known behind: another process looks for itself."""
        return Folder, (self._root,)

    def inside(self, path: str) -> str:
        """Return the file name of an object; no link lies between the cache's folder and it.

        Raises:
            StoreError: ``path`` leads out of the folder, or through a link.
        """
        above, _, name = path.rpartition("/")
        if above not in self._plain:
            self._check(above)
        if name in {"", ".", ".."} and path:
            raise StoreError(f"{path[:200]!r} cannot name an object in {self._text}")
        return f"{self._text}/{path}"

    def _check(self, above: str) -> None:
        parts = above.split("/") if above else []
        if any(part in {"", ".", ".."} for part in parts):
            raise StoreError(f"{above[:200]!r} is not a folder inside {self._text}")
        folder = self._text
        for part in parts:
            folder = f"{folder}/{part}"
            try:
                mode = Path(folder).lstat().st_mode
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(mode):
                demand_plain(folder, mode)
                raise NotADirectoryError(folder)
        if len(self._plain) >= _FOLDERS_KEPT:
            self._plain.clear()
        self._plain.add(above)


def open_plain(file: str) -> int:
    """Return a descriptor of a plain file, to be read.

    Raises:
        StoreError: it is a link, a pipe or a device.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(file, _FLAGS)
    except OSError:
        demand_plain(file, Path(file).lstat().st_mode)
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        demand_plain(file, mode)
        raise IsADirectoryError(file)
    return descriptor


def plain_size(file: str) -> int:
    """Return the size of a plain file.

    Raises:
        StoreError: it is a link, a pipe or a device.
        OSError: it is not there.
    """
    status = Path(file).lstat()
    demand_plain(file, status.st_mode)
    return status.st_size


def demand_plain(file: str, mode: int) -> None:
    """Refuse what is neither a plain file nor a folder.

    Raises:
        StoreError: it is a link, a pipe or a device.
    """
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
        raise StoreError(
            f"{file} is {what}; a cache consists of plain files, and nothing else in its folder is read or written: "
            "fetch the cache again with kdcache pull, or copy it with its links resolved (cp -rL) if you trust them"
        )
