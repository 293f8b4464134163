"""A disk that forgets what was not synced: what a power cut may leave of a folder, and no kinder than POSIX.

A program runs on a real folder while every call by which it changes files there is noted. From any moment of
that trace a state is built that a file system may show after a power cut: the content of a file is what was
synced last (what was written since is there, lost, cut short or zeros), and a change of a folder's entries
(create, link, rename, unlink, mkdir) is certain only once that folder was synced; each later one is there or
not. A rename is atomic: old or new. A file whose folder is lost is lost.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

__all__ = ["KilledError", "LossyDisk"]

_FOLDER = 0
_WRITING = frozenset("wxa")


class KilledError(BaseException):
    """The process is dead: nothing it does from here on reaches the disk, cleaning up included."""


@dataclass(frozen=True, slots=True)
class _Entries:
    """A folder gets, changes or loses entries, all at once; None is no entry, 0 a folder, else a file."""

    folder: str
    entries: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class _FolderSync:
    folder: str


@dataclass(frozen=True, slots=True)
class _Content:
    file: int
    data: bytes
    is_synced: bool


class LossyDisk:
    """The trace of what happens below one folder; what is there at the beginning is safe.

    Attributes:
        root: the folder.
        events: what was noted so far; a power cut comes before one of them, or after the last.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[_Entries | _FolderSync | _Content] = []
        self._live: dict[str, int] = {"": _FOLDER}
        self._numbers = itertools.count(1)
        self._content: dict[int, bytes] = {}
        self._notes: list[tuple[int, str]] = []
        self._kill_at: int | None = None
        self._meanwhile: tuple[int, Callable[[], None]] | None = None
        for path in sorted(root.rglob("*")):
            self._enter(path.relative_to(root).as_posix(), is_folder=path.is_dir())
            if path.is_file():
                self._observe(path.relative_to(root).as_posix(), is_synced=True)
        self.events += [_FolderSync(path) for path, node in self._live.items() if node == _FOLDER]

    def note(self, name: str) -> None:
        """Remember that something was promised at this moment."""
        self._notes.append((len(self.events), name))

    def promised(self, moment: int) -> set[str]:
        """Return what was promised up to a moment."""
        return {name for at, name in self._notes if at <= moment}

    def kill(self) -> None:
        """Kill the process that is being recorded, at once."""
        self._kill_at = len(self.events)
        raise KilledError

    @contextlib.contextmanager
    def recording(
        self, *, kill_at: int | None = None, meanwhile: tuple[int, Callable[[], None]] | None = None
    ) -> Iterator[None]:
        """Note what this process does in the folder.

        Args:
            kill_at: the moment from which on every call raises ``KilledError`` and does nothing.
            meanwhile: (n, what happens while this process stands before its n-th sync of a folder, counted
                from 0): another process works, say, or this one is killed.
        """
        self._kill_at, self._meanwhile = kill_at, meanwhile
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
            for name, replacement in self._calls().items():
                patch.setattr(os, name, replacement)
            patch.setattr(io, "open", self._opening(io.open, lambda mode: not _WRITING.isdisjoint(mode)))
            yield
        self._demand_complete()

    def cut_power(self, moment: int, *, seed: int, into: Path) -> None:
        """Build in ``into`` what may be left when the power fails at a moment; the seed decides what is."""
        rng = Random(seed)
        luck = rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        folders: dict[str, dict[str, int | None]] = {}
        pending: dict[str, list[_Entries]] = {}
        contents: dict[int, tuple[bytes, bytes]] = {}
        for event in self.events[:moment]:
            if isinstance(event, _Entries):
                pending.setdefault(event.folder, []).append(event)
            elif isinstance(event, _FolderSync):
                for change in pending.pop(event.folder, []):
                    folders.setdefault(event.folder, {}).update(change.entries)
            else:
                synced = event.data if event.is_synced else contents.get(event.file, (b"",))[0]
                contents[event.file] = (synced, event.data)
        for folder, changes in pending.items():
            for change in changes:
                if rng.random() < luck:
                    folders.setdefault(folder, {}).update(change.entries)
        files = {file: _after_cut(rng, *content) for file, content in contents.items()}
        _build(into, "", folders, files)

    def _calls(self) -> dict[str, Callable[..., Any]]:
        return {
            "open": self._opening(os.open, lambda flags: bool(flags & os.O_CREAT)),
            "fsync": self._fsync,
            "link": self._naming(os.link, lambda path, other: {other: self._live[path]}),
            "rename": self._naming(os.rename, lambda path, other: {path: None, other: self._live[path]}),
            "replace": self._naming(os.replace, lambda path, other: {path: None, other: self._live[path]}),
            "unlink": self._naming(os.unlink, lambda path: {path: None}),
            "mkdir": self._naming(os.mkdir, lambda path: {path: _FOLDER}),
        }

    def _inside(self, path: Any) -> str | None:
        if isinstance(path, int):
            return None
        text, root = os.path.abspath(os.fsdecode(path)), str(self.root)  # noqa: PTH100 - no links resolved
        return text[len(root) + 1 :] if text == root or text.startswith(f"{root}/") else None

    def _step(self) -> None:
        if self._kill_at is not None and len(self.events) >= self._kill_at:
            raise KilledError

    def _stand(self) -> None:
        """Do what is to happen meanwhile, when it is time for it."""
        if self._meanwhile is not None:
            syncs_left, work = self._meanwhile
            self._meanwhile = (syncs_left - 1, work) if syncs_left else None
            if not syncs_left:
                work()

    def _naming(
        self, call: Callable[..., None], changes: Callable[..., dict[str, int | None]]
    ) -> Callable[..., None]:
        def noted(*arguments: Any, **options: Any) -> None:
            paths = [self._inside(path) for path in arguments if not isinstance(path, int)]
            inside = [path for path in paths if path is not None]
            if inside:
                self._step()
                if self._live.get(inside[0]):
                    self._observe(inside[0], is_synced=False)
            call(*arguments, **options)
            if inside:
                self._change(changes(*inside))

        return noted

    def _opening(self, call: Callable[..., Any], may_create: Callable[[Any], bool]) -> Callable[..., Any]:
        def noted(file: Any, how: Any = "r", *arguments: Any, **options: Any) -> Any:
            path = self._inside(file)
            if path is None or path in self._live or not may_create(how):
                return call(file, how, *arguments, **options)
            self._step()
            opened = call(file, how, *arguments, **options)
            self._enter(path, is_folder=False)
            return opened

        return noted

    def _fsync(self, descriptor: int) -> None:
        """The trace decides what is safe; the real disk need not spin for it."""
        path = self._inside(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 - of a descriptor
        if path is None:
            return
        self._step()
        if self._live[path] == _FOLDER:
            self._stand()
            self.events.append(_FolderSync(path))
        else:
            self._observe(path, is_synced=False)
            self._step()
            self._observe(path, is_synced=True)

    def _enter(self, path: str, *, is_folder: bool) -> None:
        self._change({path: _FOLDER if is_folder else next(self._numbers)})
        if not is_folder:
            self._content[self._live[path]] = b""

    def _change(self, entries: dict[str, int | None]) -> None:
        parents = {path.rpartition("/")[0] for path in entries}
        assert len(parents) == 1, "a rename from folder to folder is two entries, and not foreseen here"
        for path, node in entries.items():
            if node is None:
                del self._live[path]
            else:
                self._live[path] = node
        names = {path.rpartition("/")[2]: node for path, node in entries.items()}
        self.events.append(_Entries(parents.pop(), names))

    def _observe(self, path: str, *, is_synced: bool) -> None:
        """Note what a file holds, if that is news."""
        file, data = self._live[path], (self.root / path).read_bytes()
        if is_synced or data != self._content[file]:
            self._content[file] = data
            self.events.append(_Content(file, data, is_synced))

    def _demand_complete(self) -> None:
        there = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}
        assert there | {""} == self._live.keys(), "the trace missed a call that changes the folder"


def _after_cut(rng: Random, synced: bytes, written: bytes) -> bytes:
    if synced == written:
        return synced
    cut = rng.randrange(len(written) + 1)
    return rng.choice((synced, written[:cut], bytes(len(written)), written[:cut] + bytes(len(written) - cut)))


def _build(
    into: Path, folder: str, folders: Mapping[str, Mapping[str, int | None]], files: Mapping[int, bytes]
) -> None:
    (into / folder).mkdir(parents=True, exist_ok=True)
    for name, node in folders.get(folder, {}).items():
        path = f"{folder}/{name}" if folder else name
        if node == _FOLDER:
            _build(into, path, folders, files)
        elif node is not None:
            (into / path).write_bytes(files.get(node, b""))
