"""The named steps of a commit, and a process that kills itself at one of them."""

import os
import signal
from typing import Any

from kdcache.store.objects import LocalObjects
from kdcache.store.remote import RemoteObjects

__all__ = ["KINDS", "LOCAL_PHASES", "REMOTE_PHASES", "kill_at", "kind_of"]

KINDS = (
    "array metadata",
    "root",
    "samples/key",
    "samples/label",
    "samples/digest",
    "samples/status",
    "samples record",
    "views/digest",
    "views/thumbnail",
    "views record",
    "targets",
    "targets record",
    "index",
)
"""What is put, in the order in which a run puts it."""

LOCAL_PHASES = ("before", "temporary written", "linked", "after")
REMOTE_PHASES = ("before", "after")


def kind_of(path: str) -> str:
    """Return which of the kinds an object is."""
    if path.endswith("zarr.json"):
        return "root" if path == "zarr.json" else "array metadata"
    if path == "commits/index.json":
        return "index"
    if path.startswith("commits/"):
        kind = path.split("/")[1]
        return f"{kind if kind in {'samples', 'views'} else 'targets'} record"
    return "targets" if path.startswith("teachers/") else "/".join(path.split("/")[:2])


class _Fuse:
    """Burns down by one whenever a step is reached; the last time kills the process group."""

    def __init__(self, phase: str, kind: str, count: int) -> None:
        self.inside: list[str] = []
        self._phase, self._kind, self._left = phase, kind, count

    def reach(self, phase: str) -> None:
        if not self.inside or phase != self._phase or kind_of(self.inside[-1]) != self._kind:
            return
        self._left -= 1
        if self._left == 0:
            os.killpg(os.getpid(), signal.SIGKILL)


def kill_at(phase: str, kind: str, count: int) -> None:
    """Make this process kill itself when it comes to a step for the ``count``-th time."""
    fuse = _Fuse(phase, kind, count)
    for owner in (LocalObjects, RemoteObjects):
        for name in ("put_new", "replace", "swap"):
            _watch_put(owner, name, fuse)
    for name in ("link", "replace"):
        _watch_system_call(name, fuse)


def _watch_put(owner: Any, name: str, fuse: _Fuse) -> None:
    original = getattr(owner, name)

    def put(self: Any, path: str, *rest: Any) -> Any:
        if fuse.inside:  # a swap puts by replace, or by put_new
            return original(self, path, *rest)
        fuse.inside.append(path)
        try:
            fuse.reach("before")
            result = original(self, path, *rest)
            fuse.reach("after")
            return result
        finally:
            fuse.inside.pop()

    setattr(owner, name, put)


def _watch_system_call(name: str, fuse: _Fuse) -> None:
    original = getattr(os, name)

    def call(*arguments: Any, **more: Any) -> Any:
        fuse.reach("temporary written")
        result = original(*arguments, **more)
        fuse.reach("linked")
        return result

    setattr(os, name, call)
