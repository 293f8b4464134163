"""What a web server sends is taken as far as it was asked for; the servers here listen on real sockets."""

from pathlib import Path

import pytest

from kdcache.runtime.object_requests import ObstoreRequests, RequestError
from tests.support.odd_server import odd_server, python_server

TIMEOUT = 5.0
MEGABYTE = 1 << 20


def test_a_server_without_ranges_gives_the_same_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "empty").write_bytes(b"")
    with python_server(tmp_path) as address:
        requests = ObstoreRequests(address, TIMEOUT)
        assert requests.perform("get", "a") == data
        assert requests.perform("get_range", "a", start=3, length=5) == data[3:8]
        assert requests.perform("get_range", "a", start=len(data) - 2, length=50) == data[-2:]
        assert requests.perform("get_range", "a", start=len(data), length=5) == b""
        assert requests.perform("get_range", "a", start=0, length=0) == b""
        assert (
            requests.perform("get", "empty")
            == requests.perform("get_range", "empty", start=0, length=9)
            == b""
        )
        assert requests.perform("size", "a") == len(data)
        for name, values in (("get", {}), ("size", {}), ("get_range", {"start": 0, "length": 0})):
            with pytest.raises(FileNotFoundError):
                requests.perform(name, "none", **values)


def test_a_server_without_ranges_is_not_read_to_the_end() -> None:
    with odd_server("whole", size=512 * MEGABYTE) as server:
        found = ObstoreRequests(server.address, TIMEOUT).perform("get_range", "a", start=MEGABYTE, length=10)
        assert found == bytes(10)
        assert server.num_bytes < 100 * MEGABYTE


def test_no_more_of_an_answer_is_taken_than_the_range() -> None:
    with odd_server("more", size=512 * MEGABYTE) as server:
        assert ObstoreRequests(server.address, TIMEOUT).perform("get_range", "a", start=5, length=7) == bytes(
            7
        )
        assert server.requests == [("GET", "bytes=5-11")]
        assert server.num_bytes < 100 * MEGABYTE


def test_what_no_cache_holds_is_refused_by_its_size() -> None:
    with odd_server("huge", size=1) as server:
        with pytest.raises(
            RequestError, match="said to have 1,099,511,627,776 bytes, but an object of a cache"
        ):
            ObstoreRequests(server.address, TIMEOUT).perform("get", "a")
        assert server.num_bytes < 100 * MEGABYTE


@pytest.mark.parametrize(("way", "reason"), [("endless", "redirect"), ("unsaid", "Content-Length")])
def test_an_answer_that_cannot_be_used_is_told(way: str, reason: str) -> None:
    with odd_server(way, size=10) as server:
        requests = ObstoreRequests(server.address, TIMEOUT)
        for name in ("get", "size"):
            with pytest.raises(RequestError, match=reason):
                requests.perform(name, "a")
        assert len(server.requests) < 30
