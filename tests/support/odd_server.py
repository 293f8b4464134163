"""Web servers that answer oddly: they know no ranges, say one size and send another, or redirect for ever."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path

from tests.support.servers import QuietServer, serving

__all__ = ["OddServer", "odd_server", "python_server"]

_PIECE = 1 << 16


@dataclass
class OddServer:
    """One that has an object of ``size`` zeros under every name.

    Attributes:
        way: how it answers: "whole" knows no ranges, "more" sends more than the range, "endless" redirects for
            ever, "huge" says that the object is, "unsaid" says no size.
        num_bytes: of bodies, sent so far.
        requests: method and range of each.
    """

    way: str
    size: int
    address: str = ""
    num_bytes: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    odd: OddServer

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        length = self._head()
        with contextlib.suppress(OSError):
            for start in range(0, length, _PIECE):
                self.wfile.write(bytes(min(_PIECE, length - start)))
                self.odd.num_bytes += min(_PIECE, length - start)

    def _head(self) -> int:
        part = self.headers.get("Range", "")
        self.odd.requests.append((self.command, part))
        if self.odd.way == "endless":
            self.send_response_only(302)
            self.send_header("Location", f"/{len(self.odd.requests)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return 0
        length = 1 << 40 if self.odd.way == "huge" else self.odd.size
        if self.odd.way == "more" and part:
            self.send_response_only(206)
            self.send_header("Content-Range", f"{part.replace('=', ' ')}/{self.odd.size}")
        else:
            self.send_response_only(200)
        if self.odd.way == "unsaid":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        return length

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def odd_server(way: str, *, size: int) -> Iterator[OddServer]:
    """Run one."""
    odd = OddServer(way, size)
    with serving(QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"odd": odd}))) as odd.address:
        yield odd


@contextlib.contextmanager
def python_server(root: Path) -> Iterator[str]:
    """Run ``python -m http.server``'s own, which knows no ranges, and yield its address."""
    with serving(QuietServer(("127.0.0.1", 0), partial(_Files, directory=str(root)))) as address:
        yield address
