"""A proxy before a server: it fails some requests (503, a reset, a cut answer, silence), or dies, and it counts."""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.support.servers import QuietServer, serving

__all__ = ["FlakyProxy", "flaky_proxy"]

FAULTS = ("503", "reset before", "reset after", "cut")


@dataclass
class FlakyProxy:
    """What the proxy does; change it while it runs.

    Attributes:
        share: of requests that fail.
        faults: how they fail.
        silent: seconds to wait before any answer, as a network far away does.
        dies_after: so many requests are served, and none after them.
        death: what happens to those, one of the faults or "silence".
        died_at: when the first of them came, by the monotonic clock.
        counts: how many requests met which fault.
        requests: all that came: method, path and, where only a part was asked for, its range.
        num_bytes: what went over the connections, requests and answers, heads included.
    """

    endpoint: str
    target: str
    share: float = 0.0
    faults: tuple[str, ...] = FAULTS
    silent: float = 0.0
    seed: int = 0
    dies_after: int | None = None
    death: str = "reset before"
    died_at: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    num_bytes: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._lock = threading.Lock()
        self.closed = threading.Event()

    @property
    def num_faults(self) -> int:
        """Requests that failed."""
        return sum(self.counts.values()) - self.counts.get("none", 0)

    def fault(self, request: tuple[str, str, str]) -> str:
        """Note a request and draw what happens to it."""
        with self._lock:
            self.requests.append(request)
            fails = self._rng.random() < self.share
            kind = self._rng.choice(self.faults) if fails else "none"
            if self.dies_after is not None and len(self.requests) > self.dies_after:
                kind = self.death
                self.died_at = self.died_at or time.monotonic()
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return kind

    def count_bytes(self, number: int) -> None:
        """Note bytes that went over a connection."""
        with self._lock:
            self.num_bytes += number


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FlakyProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.proxy.count_bytes(len(self.requestline) + len(bytes(self.headers)) + len(body))
        fault = self.proxy.fault((self.command, self.path, self.headers.get("Range", "")))
        if self.proxy.silent:
            time.sleep(self.proxy.silent)
        if fault == "silence":
            self.proxy.closed.wait()
            self._reset()
            return
        if fault == "503":
            self._answer(503, {}, b"slow down")
            return
        if fault == "reset before":
            self._reset()
            return
        status, headers, answer = self._forward(body)
        if fault == "reset after":
            self._reset()
        elif fault == "cut" and len(answer) > 1 and self.command == "GET":
            self._answer(status, headers, answer, cut=len(answer) // 2)
        else:
            self._answer(status, headers, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.proxy.target).netloc, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def setup(self) -> None:
        """Count what is written: heads and bodies."""
        super().setup()
        write = self.wfile.write

        def counted(data: bytes) -> int:
            self.proxy.count_bytes(len(data))
            return write(data)

        self.wfile.write = counted  # type: ignore[method-assign, assignment]

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        told = {name.lower(): value for name, value in headers.items()}.get("content-length")
        length = told if told and self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self._reset()

    def _reset(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def flaky_proxy(target: str, *, share: float = 0.0, seed: int = 0) -> Iterator[FlakyProxy]:
    """Run a proxy before ``target``."""
    handler = type("Handler", (_Handler,), {})
    server = QuietServer(("127.0.0.1", 0), handler)
    proxy = FlakyProxy(f"http://127.0.0.1:{server.server_address[1]}", target, share=share, seed=seed)
    handler.proxy = proxy  # type: ignore[attr-defined]
    with serving(server):
        try:
            yield proxy
        finally:
            proxy.closed.set()
