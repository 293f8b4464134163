"""A process that asks an object store for another one: the server is a real one."""

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcache.errors import ConfigError
from kdcache.runtime import object_process
from kdcache.runtime.object_process import ProcessRequests
from kdcache.runtime.object_requests import RequestError
from tests.support.s3 import S3Server, seaweed_server

TIMEOUT = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with seaweed_server(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def requests(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessRequests]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield ProcessRequests("s3://caches/helped", TIMEOUT)
    _end()


def _end() -> None:
    running = object_process._helper._running
    if running is not None:
        running._process.kill()
        running._process.wait()
        shutil.rmtree(running.folder)
        object_process._helper.forget()


def test_every_request_can_be_made_by_another_process(requests: ProcessRequests) -> None:
    data = bytes(range(256)) * 100
    assert requests.perform("put_new", "a/b", data=data) is True
    assert requests.perform("put_new", "a/b", data=b"other") is False
    assert requests.perform("get", "a/b") == data
    assert requests.perform("get_range", "a/b", start=250, length=10) == data[250:260]
    assert requests.perform("get_range", "a/b", start=len(data), length=1) == b""
    assert requests.perform("size", "a/b") == len(data)
    assert requests.perform("swap", "a/b", old=b"no", new=b"1") is False
    assert requests.perform("swap", "a/b", old=data, new=b"1") is True
    requests.perform("replace", "a/b", data=b"")
    assert requests.perform("get", "a/b") == b""
    assert [entry[:2] for entry in requests.perform("entries", "a")] == [["a/b", 0]]
    requests.perform("delete", "a/b")
    with pytest.raises(FileNotFoundError):
        requests.perform("get", "a/b")


def test_threads_ask_one_process_at_the_same_time(requests: ProcessRequests) -> None:
    requests.perform("put_new", "t", data=b"0123456789")
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(requests.perform("get_range", "t", start=n, length=1))
        )
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [b"%d" % n for n in range(10)]


def test_what_a_server_refuses_is_told_in_one_line(
    requests: ProcessRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    with pytest.raises(RequestError, match="403 Forbidden") as refused:
        requests.perform("put_new", "a", data=b"")
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError, match="write s3://bucket/folder"):
        ProcessRequests("s5://x", TIMEOUT).perform("get", "a")


def test_a_process_that_died_is_an_error_once_and_then_replaced(requests: ProcessRequests) -> None:
    requests.perform("replace", "a", data=b"1")
    running = object_process._helper._running
    assert running is not None
    running._process.kill()
    with pytest.raises(RequestError, match="has ended"):
        running.ask({"url": "s3://caches/helped", "timeout": TIMEOUT, "name": "get", "path": "a"}, {})
    running._process.wait()
    assert requests.perform("get", "a") == b"1"
    assert not running.folder.exists()


def test_it_ends_with_the_process_that_started_it(requests: ProcessRequests, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(FileNotFoundError):
            requests.perform("size", "none")
        helper = object_process._helper._running
        assert helper is not None
        (tmp_path / "facts").write_text(f"{helper._process.pid} {helper.folder}")
        signal.pause()
    deadline = time.monotonic() + 30
    while not (facts := _facts(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while _is_alive(int(facts[0])) or Path(facts[1]).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _facts(folder: Path) -> list[str]:
    file = folder / "facts"
    return file.read_text().split() if file.exists() else []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
