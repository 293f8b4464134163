"""Objects in an object store, through obstore: the same promises as on a disk, kept by conditional requests.

A create is a PUT with ``If-None-Match: *``, a swap one with ``If-Match`` (Google's store has generation numbers
instead): the server decides who comes first. obstore reads its settings where every tool of the provider does, say
``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME``.
Nothing of them is kept or printed here.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kdcache.errors import ConfigError, StoreError
from kdcache.runtime.object_process import ProcessRequests
from kdcache.runtime.object_requests import ObstoreRequests, RequestError, Requests, Version
from kdcache.runtime.object_schemes import BUCKETS, Scheme, scheme_of
from kdcache.store.addresses import public_text
from kdcache.store.stored import StoredObject

__all__ = ["SCHEMES", "TIMEOUT_VARIABLE", "RemoteObjects", "remote_timeout"]

SCHEMES = tuple(BUCKETS)
TIMEOUT_VARIABLE = "KDCACHE_REMOTE_TIMEOUT"
_DEFAULT_TIMEOUT = 60.0

T = TypeVar("T")


class _Fork:
    """Whether obstore can work in this process.

    It cannot in one that was forked after obstore had been used: its threads are not there, and it waits for them.
    """

    def __init__(self) -> None:
        self.is_too_late = False

    def note(self) -> None:
        self.is_too_late = self.is_too_late or "obstore" in sys.modules


_fork = _Fork()
os.register_at_fork(after_in_child=_fork.note)


class RemoteObjects:
    """Objects under ``s3://bucket/prefix``, or the like at another provider.

    The client is made in the process that uses it first, and anew after a pickle or a fork. A process that was
    forked where obstore was in use already asks by a helper process.

    Attributes:
        url: where the objects are.
        timeout: seconds after which a request that keeps failing is given up, retries included.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.timeout = remote_timeout()
        self._requests: tuple[int, Requests] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the client behind."""
        return {"url": self.url, "timeout": self.timeout, "_requests": None}

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        found: bytes = self._call("read", "get", path)
        return found

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""
        found: bytes = self._call("read", "get_range", path, start=start, length=length)
        return found

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        return int(self._call("look up", "size", path))

    def version(self, path: str) -> Version:
        """Return size and tag of an object; FileNotFoundError when there is none."""
        found: Version = self._call("look up", "version", path)
        return found

    def get_version(self, path: str, start: int, length: int, version: Version) -> bytes:
        """Return a range of an object as it was; FileNotFoundError when there is none.

        Raises:
            ChangedError: there is another one by now.
        """
        size, tag = version
        found: bytes = self._call(
            "read", "get_version", path, start=start, length=length, size=int(size), tag=str(tag)
        )
        return found

    def put_new(self, path: str, data: bytes) -> bool:
        """Publish a new object whole; False, and nothing changed, when the name is taken."""
        return bool(self._call("write", "put_new", path, data=data))

    def replace(self, path: str, data: bytes) -> None:
        """Publish an object whole, in place of the one that has the name."""
        self._call("write", "replace", path, data=data)

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:
        """Publish ``new`` if the object still holds ``old`` (None: if there is none); else False."""
        if old is None:
            return self.put_new(path, new)
        try:
            return bool(self._call("swap", "swap", path, old=old, new=new))
        except FileNotFoundError:
            return False

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object under the folder ``prefix``, in a stable order."""
        entries = self._call("list", "entries", prefix.strip("/"))
        yield from sorted((StoredObject(*entry) for entry in entries), key=lambda entry: entry.path)

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield nothing: a PUT that is cut off leaves no trace."""
        return iter(())

    def settle(self) -> None:
        """Do nothing: what a server has answered is durable."""

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError when there is none."""
        self.size(path)
        self._call("delete", "delete", path)

    def _call(self, verb: str, name: str, path: str, **values: int | str | bytes) -> Any:
        requests = self._opened()
        try:
            return _interruptible(lambda: requests.perform(name, path, **values))
        except FileNotFoundError as error:
            if verb == "write":
                raise StoreError(
                    f"cannot write {self.url}/{path}: there is no such {self._scheme.container}; make it first"
                ) from error
            raise FileNotFoundError(path) from error
        except RequestError as error:
            raise StoreError(
                f"cannot {verb} {self.url}/{path}: {public_text(str(error))}; what is committed already is safe: check "
                f"{self._scheme.look}, and run the same command again "
                f"(requests are repeated for {self.timeout:g} s; {TIMEOUT_VARIABLE} changes that)"
            ) from error

    @property
    def _scheme(self) -> Scheme:
        scheme = scheme_of(self.url)
        assert scheme is not None, "whoever opens an address has looked it up"
        return scheme

    def _opened(self) -> Requests:
        if self._requests is None or self._requests[0] != os.getpid():
            make = ProcessRequests if _fork.is_too_late else ObstoreRequests
            self._requests = (os.getpid(), make(self.url, self.timeout))
        return self._requests[1]


def _interruptible(request: Callable[[], T]) -> T:
    """Run a request so that a signal is heard meanwhile: obstore waits outside of Python."""
    if threading.current_thread() is not threading.main_thread():
        return request()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(request())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)

    thread = threading.Thread(target=run, name="kdcache-request", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def remote_timeout() -> float:
    """Return after how many seconds a request that keeps failing is given up.

    Raises:
        ConfigError: the setting is no number above 0.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ConfigError(f"{TIMEOUT_VARIABLE} is {text!r}, expected a number of seconds above 0")
    return seconds
