"""A disk on which calls fail below one folder, as they do when it dies, fills up or is taken away."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

__all__ = ["SickDisk"]


class SickDisk:
    """Makes calls of this process and of those that it forks fail, in Python; the disk itself is well.

    Attributes:
        calls: how often each call was made in the folder.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, int] = {}
        self._folder = folder
        self._failing: dict[str, tuple[int, str, int]] = {}
        for name in ("fsync", "link", "mkdir", "open", "pread", "replace", "scandir", "stat", "unlink"):
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        patch.setattr(io, "open", self._opening(io.open))

    def fail(self, call: str, error: int, *, at: str = "", well: int = 0) -> None:
        """Let a call fail from now on.

        Args:
            call: a function of ``os``, or ``create``, ``read`` and ``write`` for those of Python's own files.
            error: the number of the error.
            at: what must be in the path; for ``link`` and ``replace`` in the new name.
            well: how many of these calls go well before.
        """
        self._failing[call] = (error, at, well)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._failing.clear()

    def touch(self, call: str, place: Any) -> None:
        """Fail if it is time for that.

        Raises:
            OSError: it is.
        """
        path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else os.fsdecode(place)  # noqa: PTH115
        if not Path(path).is_relative_to(self._folder):
            return
        self.calls[call] = self.calls.get(call, 0) + 1
        error, at, well = self._failing.get(call, (0, "", 0))
        if error and at in path:
            self._failing[call] = (error, at, max(0, well - 1))
            if not well:
                raise OSError(error, os.strerror(error), path)

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        place_of_name = 1 if name in {"link", "replace"} else 0

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if len(arguments) > place_of_name:
                self.touch(name, arguments[place_of_name])
            return call(*arguments, **options)

        return wrapped

    def _opening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opening(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if isinstance(file, int):
                return call(file, mode, *arguments, **options)
            is_read = set("wxa+").isdisjoint(mode)
            self.touch("read" if is_read else "create", file)
            opened = call(file, mode, *arguments, **options)
            is_ours = Path(os.fsdecode(file)).is_relative_to(self._folder)
            return _SickFile(self, opened, str(file)) if is_ours and not is_read else opened

        return opening


class _SickFile:
    def __init__(self, disk: SickDisk, file: Any, path: str) -> None:
        self._disk, self._file, self._path = disk, file, path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> Any:
        self._disk.touch("write", self._path)
        return self._file.write(data)
