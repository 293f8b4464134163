"""Objects in an object store, through obstore: the same promises as on a disk, kept by conditional requests.

A create is a PUT with ``If-None-Match: *``, a swap one with ``If-Match``: the server decides who comes first.
obstore reads its settings where every S3 tool does: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
``AWS_ENDPOINT_URL``, ``AWS_REGION``. Nothing of them is kept or printed here.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from kdcache.errors import ConfigError, StoreError
from kdcache.store.addresses import public_text
from kdcache.store.stored import StoredObject

__all__ = ["SCHEMES", "RemoteObjects"]

SCHEMES = ("s3",)
_TIMEOUT_VARIABLE = "KDCACHE_REMOTE_TIMEOUT"
_DEFAULT_TIMEOUT = 60.0
_CONNECT_SECONDS = 5
_FIRST_PAUSE = 0.1
_CUT_OFF = ("kind: Interrupted", "kind: Body", "kind: Request", "IncompleteMessage", "response body error")

T = TypeVar("T")


class RemoteObjects:
    """Objects under ``s3://bucket/prefix``.

    The client is made in the process that uses it first, and anew after a pickle.

    Attributes:
        url: where the objects are.
        timeout: seconds after which a request that keeps failing is given up, retries included.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.timeout = _timeout()
        self._client: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the client behind."""
        return {"url": self.url, "timeout": self.timeout, "_client": None}

    def get(self, path: str) -> bytes:
        """Return a whole object; FileNotFoundError when there is none."""
        return self._call("read", path, lambda store, api: bytes(api.get(store, path).bytes()))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start`` on; FileNotFoundError when there is no object."""

        def read(store: Any, api: Any) -> bytes:
            try:
                return bytes(api.get_range(store, path, start=start, length=length))
            except api.exceptions.GenericError:
                # Servers refuse ranges that reach beyond the end; a file gives what there is.
                end = min(start + length, api.head(store, path)["size"])
                if end == start + length:
                    raise
                return bytes(api.get_range(store, path, start=start, end=end)) if start < end else b""

        return self._call("read", path, read)

    def size(self, path: str) -> int:
        """Return an object's size; FileNotFoundError when there is none."""
        return int(self._call("look up", path, lambda store, api: api.head(store, path)["size"]))

    def put_new(self, path: str, data: bytes) -> bool:
        """Publish a new object whole; False, and nothing changed, when the name is taken."""

        def put(store: Any, api: Any) -> bool:
            try:
                api.put(store, path, data, mode="create", use_multipart=False)
            except (api.exceptions.AlreadyExistsError, api.exceptions.PreconditionError):
                return False
            return True

        return self._call("write", path, put)

    def replace(self, path: str, data: bytes) -> None:
        """Publish an object whole, in place of the one that has the name."""
        self._call("write", path, lambda store, api: api.put(store, path, data, use_multipart=False))

    def swap(self, path: str, old: bytes | None, new: bytes) -> bool:
        """Publish ``new`` if the object still holds ``old`` (None: if there is none); else False."""
        if old is None:
            return self.put_new(path, new)

        def exchange(store: Any, api: Any) -> bool:
            there = api.get(store, path)
            version = {name: there.meta[name] for name in ("e_tag", "version") if there.meta.get(name)}
            if bytes(there.bytes()) != old:
                return False
            try:
                api.put(store, path, new, mode=version, use_multipart=False)
            except (api.exceptions.PreconditionError, api.exceptions.AlreadyExistsError):
                return False
            return True

        try:
            return self._call("swap", path, exchange)
        except FileNotFoundError:
            return False

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object under the folder ``prefix``, in a stable order."""
        entries = self._call("list", prefix, lambda store, api: _entries(api.list(store, prefix.strip("/"))))
        yield from sorted(entries, key=lambda entry: entry.path)

    def leftovers(self) -> Iterator[StoredObject]:
        """Yield nothing: a PUT that is cut off leaves no trace."""
        return iter(())

    def settle(self) -> None:
        """Do nothing: what a server has answered is durable."""

    def delete(self, path: str) -> None:
        """Remove an object; FileNotFoundError when there is none."""
        self.size(path)
        self._call("delete", path, lambda store, api: api.delete(store, path))

    def _call(self, verb: str, path: str, request: Callable[[Any, Any], T]) -> T:
        store, api = self._opened()
        try:
            return _interruptible(lambda: self._repeated(lambda: request(store, api), api))
        except FileNotFoundError as error:
            if verb == "write":
                raise StoreError(
                    f"cannot write {self.url}/{path}: there is no such bucket; make it first"
                ) from error
            raise FileNotFoundError(path) from error
        except api.exceptions.BaseError as error:
            raise StoreError(
                f"cannot {verb} {self.url}/{path}: {_first_line(error)}; what is committed already is safe: check "
                "the server, the bucket, AWS_ENDPOINT_URL and the credentials, and run the same command again "
                f"(requests are repeated for {self.timeout:g} s; {_TIMEOUT_VARIABLE} changes that)"
            ) from error

    def _repeated(self, request: Callable[[], T], api: Any) -> T:
        """Repeat what obstore does not: answers that are cut off, and writes whose answer was lost.

        Nothing here can be done twice: a create that finds its own object is told that the name is taken, and
        whoever asked compares.
        """
        deadline = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                return request()
            except api.exceptions.GenericError as error:
                if not _is_cut_off(error) or time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause *= 2

    def _opened(self) -> tuple[Any, Any]:
        api = _obstore(self.url)
        if self._client is None or self._client[0] != os.getpid():
            self._client = (os.getpid(), _connect(api, self.url, self.timeout))
        return self._client[1], api


def _obstore(url: str) -> Any:
    try:
        import obstore  # noqa: PLC0415 - an extra: local caches need none of it
        import obstore.exceptions  # noqa: PLC0415
        import obstore.store  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"{url} needs obstore; install it with: pip install 'kdcache[s3]'") from error
    return obstore


def _connect(api: Any, url: str, timeout: float) -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    seconds = timedelta(seconds=timeout)
    try:
        return api.store.from_url(
            url,
            client_options={
                "timeout": seconds,
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, timeout)),
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"retry_timeout": seconds},
        )
    except (api.exceptions.BaseError, ValueError) as error:
        raise ConfigError(f"cannot use {url}: {_first_line(error)}; write s3://bucket/folder") from error


def _entries(chunks: Any) -> list[StoredObject]:
    return [
        StoredObject(str(entry["path"]), int(entry["size"]), entry["last_modified"].timestamp())
        for chunk in chunks
        for entry in chunk
    ]


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


def _is_cut_off(error: BaseException) -> bool:
    # obstore has one class for all that goes wrong on the way; what a server refused is told by its text.
    text = str(error)
    return any(mark in text for mark in _CUT_OFF)


def _timeout() -> float:
    text = os.environ.get(_TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else _DEFAULT_TIMEOUT
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ConfigError(f"{_TIMEOUT_VARIABLE} is {text!r}, expected a number of seconds above 0")
    return seconds


def _first_line(error: BaseException) -> str:
    return public_text(str(error).strip().partition("\n")[0])
