"""What is asked of Google's store, to the header: no server of its kind is at hand to answer as it would."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdcache.errors import ConfigError
from kdcache.runtime.object_requests import ObstoreRequests, RequestError

THERE = b"old"
GENERATION = "x-goog-if-generation-match"


@dataclass
class Seen:
    """Requests that came, and the status of the answer to a PUT."""

    status: int = 200
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: Seen

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.requests.append((self.command, self.path, self.headers.get(GENERATION)))
        is_read = self.command in {"GET", "HEAD"}
        self.send_response_only(200 if is_read else self.seen.status)
        for name, value in (
            ("ETag", '"e"'),
            ("x-goog-generation", "17"),
            ("Content-Length", "3" if is_read else "0"),
        ):
            self.send_header(name, value)
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(THERE)

    do_GET = do_HEAD = do_PUT = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    seen = Seen()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"seen": seen}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "hunter2")
    yield seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def requests(seen: Seen) -> ObstoreRequests:
    return ObstoreRequests("gs://bucket/c", 2.0)


def test_a_create_asks_that_there_be_no_generation(requests: ObstoreRequests, seen: Seen) -> None:
    assert requests.perform("put_new", "a/b", data=b"new") is True
    assert seen.requests == [("PUT", "/bucket/c%2Fa%2Fb", "0")]
    seen.status = 412
    assert requests.perform("put_new", "a/b", data=b"new") is False


def test_a_swap_asks_for_the_generation_that_was_read(requests: ObstoreRequests, seen: Seen) -> None:
    assert requests.perform("swap", "a", old=b"other", new=b"new") is False
    assert [method for method, _, _ in seen.requests] == ["GET"]
    assert requests.perform("swap", "a", old=THERE, new=b"new") is True
    assert seen.requests[-1] == ("PUT", "/bucket/c%2Fa", "17")
    seen.status = 412
    assert requests.perform("swap", "a", old=THERE, new=b"new") is False


def test_a_replacement_asks_for_nothing(requests: ObstoreRequests, seen: Seen) -> None:
    requests.perform("replace", "a", data=b"new")
    assert seen.requests == [("PUT", "/bucket/c%2Fa", None)]


def test_a_refusal_is_told_without_the_token(requests: ObstoreRequests, seen: Seen) -> None:
    seen.status = 403
    with pytest.raises(RequestError, match="403 Forbidden") as refused:
        requests.perform("replace", "a", data=b"new")
    assert "hunter2" not in str(refused.value)


def test_an_address_of_no_object_store_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot use s5://x: .* write s3://bucket/folder, gs://"):
        ObstoreRequests("s5://x", 1.0)
