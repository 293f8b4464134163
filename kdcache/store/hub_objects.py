"""Objects of a cache in a dataset repository on a hub, as they were in one commit.

A branch or tag is looked up once, and pickles take the commit along: whatever is pushed meanwhile, a run with all
its workers reads one state. Nothing can be written here object by object; ``kdcache push`` makes commits.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qs, urlsplit

from kdcache.digest import sha256_hex
from kdcache.errors import ConfigError, StoreError
from kdcache.store.hub_address import HubAddress
from kdcache.store.hub_requests import HubError, client_of, request
from kdcache.store.remote import TIMEOUT_VARIABLE, remote_timeout
from kdcache.store.stored import StoredObject

__all__ = ["HubFile", "HubObjects"]

_PLAIN = {"Accept-Encoding": "identity"}
_NO_ENTRY = ("EntryNotFound", "")


class HubFile(NamedTuple):
    """What a hub says of a file: ``sha256`` if it is a large one, ``git_id`` of its bytes if it is a text."""

    size: int
    sha256: str | None
    git_id: str | None

    def holds(self, data: bytes) -> bool:
        """Tell whether these are its bytes."""
        if self.sha256 is not None:
            return self.sha256 == sha256_hex(data)
        return self.git_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class HubObjects:
    """Objects under ``hf://datasets/owner/name@revision/folder``. It holds no connection: it may be pickled and forked.

    Attributes:
        url: where the objects are.
        address: the same in parts.
        timeout: seconds after which a request that keeps failing is given up, retries included.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.address = HubAddress.parse(self.url)
        self.timeout = remote_timeout()
        self._commit: str | None = None
        self._files: dict[str, HubFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listing behind, which may be long."""
        return vars(self) | {"_files": None}

    @property
    def commit(self) -> str:
        """The commit that is read.

        Raises:
            StoreError: there is no such repository or revision, or the hub does not say.
        """
        try:
            return self._looked_up()
        except HubError as error:
            raise self._failed("read", "", error) from error

    def is_there(self) -> bool:
        """Tell whether the hub has the repository, or says that it has; one that is not there has no objects.

        Raises:
            StoreError: it is there without this revision, or the hub does not say.
        """
        try:
            self._looked_up()
        except HubError as error:
            if error.code != "RepoNotFound":
                raise self._failed("read", "", error) from error
            self._files = {}
            return False
        return True

    def moved(self, commit: str | None = None) -> None:
        """Read another commit from now on; None: the one that the revision is now."""
        self._commit, self._files = commit, None

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        return bytes(self._read(path, {}).content)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""
        if length <= 0:
            return b""
        try:
            answer = self._read(path, {"Range": f"bytes={start}-{start + length - 1}"})
        except _BeyondEndError:
            return b""
        data = bytes(answer.content)
        # A server that does not know ranges answers 200 and with the whole.
        return data[:length] if answer.status_code == 206 else data[start : start + length]

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        if self._files is not None:
            if path not in self._files:
                raise FileNotFoundError(path)
            return self._files[path].size
        name = self.address.inside(path)
        asked = {"paths": [name], "expand": "false"}
        try:
            found = self._ask("POST", self.address.api("paths-info", self.commit), data=asked).json()
        except HubError as error:
            raise self._failed("look up", path, error) from error
        sizes = [entry["size"] for entry in found if entry["type"] == "file" and entry["path"] == name]
        if not sizes:
            raise FileNotFoundError(path)
        return int(sizes[0])

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object under the folder ``prefix``, in a stable order; times are not known."""
        folder = prefix.strip("/")
        files = self.files() if not folder or self._files is not None else self._listed(folder)
        below = f"{folder}/" if folder else ""
        return (StoredObject(path, files[path].size, 0.0) for path in sorted(files) if path.startswith(below))

    def files(self) -> dict[str, HubFile]:
        """Return all objects, by path; asked for once a commit."""
        if self._files is None:
            self._files = self._listed("")
        return self._files

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield nothing: a commit is there whole or not at all."""
        return iter(())

    def put_new(self, path: str, data: bytes) -> bool:
        """Refuse."""
        self._refuse(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Refuse."""
        self._refuse(path, data)

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:
        """Refuse."""
        self._refuse(path, old, new)

    def delete(self, path: str) -> None:
        """Refuse."""
        self._refuse(path)

    def settle(self) -> None:
        """Refuse: whoever begins to write is told at once."""
        self._refuse()

    def _looked_up(self) -> str:
        if self._commit is None:
            answer = self._ask("GET", self.address.api("revision", self.address.revision))
            self._commit = str(answer.json()["sha"])
        return self._commit

    def _refuse(self, *_: object) -> NoReturn:
        raise ConfigError(
            f"{self.url} is on a hub, where no cache is made or changed object by object; work on a local cache or "
            "one in an object store, and publish it with kdcache push when it is finished"
        )

    def _listed(self, folder: str) -> dict[str, HubFile]:
        top = self.address.api("tree", self.commit, self.address.inside(folder))
        files: dict[str, HubFile] = {}
        asked = {"recursive": "true", "expand": "false"}
        params: dict[str, Any] | None = asked
        try:
            while params is not None:
                answer = self._ask("GET", top, params=params)
                files |= {
                    self.address.outside(e["path"]): _file(e) for e in answer.json() if e["type"] == "file"
                }
                # Only what the link asks for is taken, and never to whom it leads: the token goes to this hub alone.
                link = answer.links.get("next", {}).get("url")
                params = asked | parse_qs(urlsplit(link).query) if link else None
        except HubError as error:
            if error.status == 404 and error.code in _NO_ENTRY:
                return {}
            raise self._failed("list", folder, error) from error
        return files

    def _read(self, path: str, headers: dict[str, str]) -> Any:
        try:
            return self._ask("GET", self.address.file(self.commit, path), headers=_PLAIN | headers)
        except HubError as error:
            if error.status == 404 and error.code in _NO_ENTRY:
                raise FileNotFoundError(path) from error
            if error.status == 416:
                raise _BeyondEndError from error
            raise self._failed("read", path, error) from error

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        return request(client_of(self.url), method, path, timeout=self.timeout, **more)

    def _failed(self, verb: str, path: str, error: HubError) -> StoreError:
        what = f"{self.url}: {path}" if path else self.url
        if error.code == "RevisionNotFound":
            return StoreError(
                f"cannot {verb} {what}: the repository has no branch, tag or commit {self.address.revision!r}"
            )
        if error.status in {401, 403, 404}:
            return StoreError(
                f"cannot {verb} {what}: {error}; there is no such dataset repository on this hub, or it needs a token "
                "that may read it: check the address, HF_ENDPOINT, and HF_TOKEN or 'hf auth login'"
            )
        return StoreError(
            f"cannot {verb} {what}: {error}; check the network and HF_ENDPOINT, and run the same command again "
            f"(requests are repeated for {self.timeout:g} s; {TIMEOUT_VARIABLE} changes that)"
        )


class _BeyondEndError(Exception):
    """A range begins where an object has ended."""


def _file(entry: dict[str, Any]) -> HubFile:
    large = entry.get("lfs") or {}
    return HubFile(int(entry["size"]), large.get("oid"), None if large else entry["oid"])
