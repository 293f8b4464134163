"""Putting a card into a folder: a page that somebody else wrote is not lost."""

from collections.abc import Mapping
from pathlib import Path

from kdcache.errors import StoreError
from kdcache.store.objects import LocalObjects

__all__ = ["write_card"]


def write_card(folder: str | Path, files: Mapping[str, bytes], *, force: bool) -> tuple[str, ...]:
    """Write the files whose bytes are not there yet, and return their names.

    Args:
        folder: made if it is not there.
        files: by name.
        force: replace files that are there and differ.

    Raises:
        StoreError: one is there and differs, or the folder cannot be written.
    """
    objects = LocalObjects(Path(folder).expanduser())
    there = {name: _read(objects, name) for name in files}
    changed = tuple(name for name, data in files.items() if there[name] != data)
    others = [name for name in changed if there[name] is not None]
    if others and not force:
        raise StoreError(
            f"{objects.root / others[0]} is there already and says something else; nothing was written: --force "
            "replaces it, --out writes to another folder"
        )
    for name in changed:
        objects.replace(name, files[name])
    return changed


def _read(objects: LocalObjects, name: str) -> bytes | None:
    try:
        return objects.get(name)
    except FileNotFoundError:
        return None
