"""Links and other things that are no files: a cache has none, and following one leads out of its folder."""

import os
from pathlib import Path

from kdcache.errors import StoreError
from kdcache.store.layout import CARD_PATHS, ROOT_PATH, SAMPLES, SUMS_PATH, VIEWS
from kdcache.store.objects import LocalObjects, ObjectStore

__all__ = ["refuse_links"]

_OURS = (SAMPLES, VIEWS, "teachers", "commits", ROOT_PATH, SUMS_PATH, *CARD_PATHS)


def refuse_links(objects: ObjectStore) -> None:
    """Look at a local folder, where it has the names of a cache, before anything in it is opened.

    Raises:
        StoreError: there is a symbolic link, a device or a pipe; it is named.
    """
    if isinstance(objects, LocalObjects) and objects.root.is_dir():
        try:
            for entry in _entries(objects.root):
                if entry.name in _OURS:
                    _check(entry)
        except OSError as error:
            raise StoreError(
                f"cannot read {error.filename}: {error.strerror}; check the disk and the permissions"
            ) from error


def _check(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        for inner in _entries(entry.path):
            _check(inner)
    elif not entry.is_file(follow_symlinks=False):
        kind = (
            f"a link to {str(Path(entry.path).readlink())!r}"
            if entry.is_symlink()
            else "neither a file nor a folder"
        )
        raise StoreError(
            f"{entry.path!r} is {kind}, and a cache has files and folders only; nothing was read or "
            "written through it: remove it, or put what it stands for in its place"
        )


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
