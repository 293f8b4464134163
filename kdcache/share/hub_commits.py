"""Commits to a dataset repository, made by the hub's own client.

The client waits for ever for a server that says nothing, and its threads hold up the end of the process. So it is
watched: it works on a thread, shows with each piece of a file that it gets on, and is stopped there when it must not.
Files are handed to it as streams, which it sends by the protocol of large files that every hub has, not by Xet.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kdcache.errors import ConfigError, StoreError
from kdcache.store.hub_objects import HubObjects
from kdcache.store.hub_requests import client_errors, client_of, endpoint, is_passing, reason
from kdcache.store.remote import TIMEOUT_VARIABLE

__all__ = ["HubCommits"]

_LOOKS_A_SECOND = 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 8.0

T = TypeVar("T")


class HubCommits:
    """Adds files to the branch that ``hub`` reads."""

    def __init__(self, hub: HubObjects, *, jobs: int) -> None:
        self._hub, self._jobs = hub, jobs
        self._client = client_of(hub.url)
        self._api = self._client.HfApi(endpoint=endpoint(self._client))
        self._life = _Life()
        self._where = {"repo_id": hub.address.repo, "repo_type": "dataset"}

    def begin(self, *, private: bool) -> None:
        """Make the repository if there is none.

        Raises:
            ConfigError: the revision is not a branch.
            StoreError: it cannot be made.
        """
        if not self._hub.is_there():
            made = {**self._where, "private": private, "exist_ok": True}
            self._repeated(lambda: self._api.create_repo(**made))
            self._hub.moved()
        if self._hub.commit == self._hub.address.revision:
            raise ConfigError(f"{self._hub.url} names a commit, which never changes; push to a branch")

    def upload(self, contents: Mapping[str, bytes]) -> list[Any]:
        """Send the files that the hub keeps as large ones, and return all files as parts of a commit.

        Raises:
            StoreError: the hub does not take them.
        """
        files = [
            self._client.CommitOperationAdd(self._hub.address.inside(path), _Stream(data, self._life))
            for path, data in contents.items()
        ]
        options = {**self._where, "revision": self._hub.address.revision, "num_threads": self._jobs}
        # Of equal files the client would send one stream on several threads; the second time they are there.
        firsts = {file.upload_info.sha256: file.path_in_repo for file in reversed(files)}
        for is_first in (True, False):
            some = [f for f in files if (firsts[f.upload_info.sha256] == f.path_in_repo) == is_first]
            if some:
                self._repeated(partial(self._sent, some, options))
        return files

    def _sent(self, files: Sequence[Any], options: Mapping[str, Any]) -> None:
        for file in files:
            file.path_or_fileobj.seek(0)  # an attempt that failed leaves it anywhere
        self._api.preupload_lfs_files(additions=files, free_memory=True, **options)

    def commit(self, files: Sequence[Any], message: str) -> bool:
        """Commit files; False if there is another commit meanwhile, whoever made it.

        Raises:
            StoreError: the hub does not take it.
        """
        parent = self._hub.commit
        options = {**self._where, "revision": self._hub.address.revision, "num_threads": self._jobs}
        options |= {"commit_message": message, "parent_commit": parent}

        def is_over() -> bool:
            self._hub.moved()
            return self._hub.commit != parent

        made = self._repeated(lambda: self._api.create_commit(operations=files, **options), is_over)
        if made is not None:
            self._hub.moved(made.oid)
        return made is not None

    def _repeated(self, call: Callable[[], T], is_over: Callable[[], bool] = lambda: False) -> T | None:
        """Repeat a call while server or network fail; None once it is no use, because ``is_over``."""
        deadline, pause = time.monotonic() + self._hub.timeout, _FIRST_PAUSE
        failures: tuple[type[Exception], ...] = (*client_errors(self._client), ValueError, RuntimeError)
        while True:
            try:
                return self._watched(call)
            except failures as error:
                if is_over():
                    return None
                if not is_passing(self._client, error) or time.monotonic() + pause > deadline:
                    raise self._failed(error) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _watched(self, call: Callable[[], T]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                errors.append(error)

        thread = threading.Thread(target=run, name="kdcache-hub", daemon=True)
        try:
            self._life.sign()
            with _quiet(self._client):
                thread.start()
                while thread.is_alive():
                    thread.join(1 / _LOOKS_A_SECOND)
                    if self._life.silence() > self._hub.timeout:
                        raise StoreError(self._message("it says nothing"))  # noqa: TRY301 - ends the client, too
        except BaseException:
            self._life.end()
            raise
        if errors:
            raise errors[0]
        return results[0]

    def _failed(self, error: BaseException) -> StoreError:
        return StoreError(self._message(reason(self._client, error)))

    def _message(self, what: str) -> str:
        return (
            f"cannot write {self._hub.url}: {what}; what is committed there already stays: check the network, "
            "HF_ENDPOINT, and HF_TOKEN or 'hf auth login' (the token must be one that may write there), and run the "
            f"same command again ({TIMEOUT_VARIABLE}, now {self._hub.timeout:g} s, bounds the wait)"
        )


class _Life:
    """When the client last got on, and whether it still may."""

    def __init__(self) -> None:
        self._latest, self._is_over = time.monotonic(), False

    def sign(self) -> None:
        """Note that it gets on; stop it here if it must not."""
        if self._is_over:
            raise ValueError("the upload was given up")
        self._latest = time.monotonic()

    def silence(self) -> float:
        """Return for how many seconds it did not get on."""
        return time.monotonic() - self._latest

    def end(self) -> None:
        """Let it stop as soon as it touches a file."""
        self._is_over = True


class _Stream(io.BytesIO):
    """The bytes of a file, which tell that they are read."""

    def __init__(self, data: bytes, life: _Life) -> None:
        super().__init__(data)
        self._life = life

    def read(self, size: int | None = -1, /) -> bytes:
        self._life.sign()
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._life.sign()
        return super().seek(offset, whence)


@contextlib.contextmanager
def _quiet(client: Any) -> Iterator[None]:
    """Let the client show no progress of its own, nor warn of what is repeated here."""
    shows, level = not client.utils.are_progress_bars_disabled(), client.utils.logging.get_verbosity()
    client.utils.disable_progress_bars()
    client.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        client.utils.logging.set_verbosity(level)
        if shows:
            client.utils.enable_progress_bars()
