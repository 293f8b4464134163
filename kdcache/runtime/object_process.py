"""Requests to an object store by a process of their own, for a process that obstore cannot work in.

That is one that was forked after obstore had started its threads. The new process is no fork: it imports next to
nothing, listens on a socket in a private folder, answers each connection on a thread, and ends when the process
that started it is gone. A message is JSON, and bytes follow it; nothing is pickled.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from kdcache.errors import ConfigError
from kdcache.runtime.object_requests import ChangedError, ObstoreRequests, RequestError

__all__ = ["ProcessRequests", "main"]

_THIS_MODULE = "kdcache.runtime.object_process"
_LENGTHS = struct.Struct("<IQ")
_SECONDS_BETWEEN_LOOKS = 1.0
_FAILURES: dict[str, type[Exception]] = {
    "missing": FileNotFoundError,
    "failed": RequestError,
    "changed": ChangedError,
    "config": ConfigError,
}


class ProcessRequests:
    """Performs requests in another process: one for all addresses, and each thread's beside the others'."""

    def __init__(self, url: str, timeout: float) -> None:
        self._client = {"url": url, "timeout": timeout}

    def perform(self, name: str, path: str, **values: int | str | bytes) -> Any:
        """Perform one request there."""
        return _helper.process().ask(self._client | {"name": name, "path": path}, values)


class _Process:
    """The process that asks, and connections to it that nobody uses now."""

    def __init__(self) -> None:
        self._idle: list[socket.socket] = []
        self.folder = Path(tempfile.mkdtemp(prefix="kdcache-"))
        self._address = str(self.folder / "requests")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self._address)
            listening.listen()
            order = json.dumps({"folder": str(self.folder), "parent": os.getpid()})
            self._process = subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-m", _THIS_MODULE, str(listening.fileno()), order],
                pass_fds=[listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, sys.path)))},
            )

    @property
    def is_running(self) -> bool:
        """Tell whether it can be asked."""
        return self._process.poll() is None

    def ask(self, message: dict[str, Any], values: dict[str, int | str | bytes]) -> Any:
        """Return the result of a request."""
        try:
            connection = self._idle.pop() if self._idle else self._connected()
            with contextlib.ExitStack() as stack:
                stack.enter_context(connection)
                _send(connection, message, values)
                answer, found = _receive(connection)
                stack.pop_all()
        except (EOFError, OSError) as error:
            raise RequestError("the process that was to ask for it has ended") from error
        self._idle.append(connection)
        if "failure" in answer:
            raise _FAILURES[answer["failure"]](answer["text"])
        return found["result"]

    def close(self) -> None:
        """Close the connections to it."""
        while self._idle:
            self._idle.pop().close()

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection


class _Helper:
    """The one helping process of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: _Process | None = None
        self._others: list[_Process] = []

    def process(self) -> _Process:
        """Return it; it is started for the first request, and again when it has died."""
        with self._lock:
            if self._running is not None and not self._running.is_running:
                shutil.rmtree(self._running.folder, ignore_errors=True)  # it was killed, and could not do so
                self._leave()
            if self._running is None:
                self._running = _Process()
            return self._running

    def forget(self) -> None:
        """Begin without one: after a fork there is one, but of the parent."""
        self._lock = threading.Lock()
        self._leave()

    def _leave(self) -> None:
        if self._running is not None:
            self._running.close()
            self._others.append(self._running)  # a child must not wait for its parent's processes
            self._running = None


_helper = _Helper()
os.register_at_fork(after_in_child=_helper.forget)


def main() -> None:
    """Serve the process that this one was started by."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # these are for the process that asks; this one ends with it
        signal.signal(number, signal.SIG_IGN)
    order, clients = json.loads(sys.argv[2]), _Clients()
    try:
        with socket.socket(fileno=int(sys.argv[1])) as listening:
            listening.settimeout(_SECONDS_BETWEEN_LOOKS)
            while os.getppid() == order["parent"]:
                with contextlib.suppress(TimeoutError):
                    connection, _ = listening.accept()
                    connection.settimeout(None)
                    threading.Thread(target=clients.serve, args=(connection,), daemon=True).start()
    finally:
        shutil.rmtree(order["folder"], ignore_errors=True)


class _Clients:
    """Answers connections; there is one client for each address, made for the first request to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, float], ObstoreRequests] = {}

    def serve(self, connection: socket.socket) -> None:
        """Answer requests until the other side ends."""
        with connection, contextlib.suppress(EOFError, OSError):
            while True:
                order, values = _receive(connection)
                try:
                    client = self._client(order["url"], order["timeout"])
                    result = client.perform(order["name"], order["path"], **values)
                except tuple(_FAILURES.values()) as error:
                    _send(connection, {"failure": _failure(error), "text": str(error)}, {})
                else:
                    _send(connection, {}, {"result": result})

    def _client(self, url: str, timeout: float) -> ObstoreRequests:
        with self._lock:
            if (url, timeout) not in self._clients:
                self._clients[url, timeout] = ObstoreRequests(url, timeout)
            return self._clients[url, timeout]


def _failure(error: Exception) -> str:
    return next(name for name, kind in _FAILURES.items() if isinstance(error, kind))


def _send(connection: socket.socket, message: dict[str, Any], values: dict[str, Any]) -> None:
    """Send a message with values: those that are bytes follow the JSON, in order."""
    blobs = {name: value for name, value in values.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in values.items() if name not in blobs}
    sizes = {name: len(blob) for name, blob in blobs.items()}
    text = json.dumps({"message": message, "plain": plain, "sizes": sizes}).encode()
    connection.sendall(b"".join([_LENGTHS.pack(len(text), sum(sizes.values())), text, *blobs.values()]))


def _receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, Any]]:
    text_size, blob_size = _LENGTHS.unpack(_exactly(connection, _LENGTHS.size))
    parts = json.loads(_exactly(connection, text_size))
    blob, position, values = _exactly(connection, blob_size), 0, parts["plain"]
    for name, size in parts["sizes"].items():
        values[name] = blob[position : position + size]
        position += size
    return parts["message"], values


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


if __name__ == "__main__":
    main()
