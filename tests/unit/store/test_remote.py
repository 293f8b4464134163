"""An object store keeps the promises of a folder; the servers here are real ones."""

import os
import pickle
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.store.objects import open_objects
from kdcache.store.remote import RemoteObjects
from tests.support.flaky_proxy import flaky_proxy
from tests.support.s3 import SERVERS, S3Server

SOAK = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def objects(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> RemoteObjects:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    opened = open_objects(f"s3://caches/{request.node.originalname}/cache.zarr/")
    assert isinstance(opened, RemoteObjects)
    return opened


def test_what_is_put_can_be_read_whole_and_in_ranges(objects: RemoteObjects) -> None:
    assert objects.put_new("a/b/c", b"0123456789")
    assert objects.get("a/b/c") == b"0123456789"
    assert objects.get_range("a/b/c", 3, 4) == b"3456"
    assert objects.get_range("a/b/c", 8, 100) == b"89"
    assert objects.get_range("a/b/c", 10, 5) == b""
    assert objects.size("a/b/c") == 10


def test_a_second_put_changes_nothing(objects: RemoteObjects) -> None:
    assert objects.put_new("a", b"first")
    assert not objects.put_new("a", b"second")
    assert objects.get("a") == b"first"
    objects.replace("a", b"third")
    assert objects.get("a") == b"third"


def test_a_swap_needs_to_know_what_is_there(objects: RemoteObjects) -> None:
    assert objects.swap("a", None, b"1")
    assert not objects.swap("a", None, b"2")
    assert not objects.swap("a", b"0", b"2")
    assert objects.swap("a", b"1", b"2")
    assert not objects.swap("b", b"1", b"2")
    assert objects.get("a") == b"2"


def test_no_swap_is_lost_between_threads(objects: RemoteObjects) -> None:
    objects.put_new("n", b"0")

    def count_up() -> None:
        for _ in range(5):
            while not objects.swap("n", there := objects.get("n"), b"%d" % (int(there) + 1)):
                pass

    threads = [threading.Thread(target=count_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert objects.get("n") == b"15"


def test_a_folder_is_listed_in_order(objects: RemoteObjects) -> None:
    for path in ("x/b", "x/a/z", "y"):
        objects.put_new(path, path.encode())
    assert [(path, size) for path, size, _ in objects.list("x")] == [("x/a/z", 5), ("x/b", 3)]
    assert len(list(objects.list(""))) == 3
    assert list(objects.list("none")) == list(objects.leftovers()) == []
    assert abs(next(objects.list("x")).modified - time.time()) < 3600


def test_a_missing_object_is_a_file_not_found(objects: RemoteObjects) -> None:
    for request in (
        objects.get,
        objects.size,
        objects.delete,
        lambda path: objects.get_range(path, 0, 1),
    ):
        with pytest.raises(FileNotFoundError):
            request("nothing")
    objects.put_new("a", b"")
    objects.delete("a")
    with pytest.raises(FileNotFoundError):
        objects.get("a")


@pytest.mark.parametrize(
    ("reads", "writes"), [pytest.param(100, 40, id="short"), pytest.param(500, 200, id="soak", marks=SOAK)]
)
def test_no_read_is_wrong_and_no_write_is_lost_where_every_third_request_fails(
    server: S3Server,
    objects: RemoteObjects,
    reads: int,
    writes: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        flaky_proxy(server.endpoint, share=0.35, seed=20261121) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        flaky = RemoteObjects(f"{objects.url}/{reads}")
        with ThreadPoolExecutor(16) as pool:
            wanted = _write_in_all_ways(flaky, writes, pool)
            paths = [random.Random(n).choice(list(wanted)) for n in range(reads)]
            wrong = sum(pool.map(lambda n: not _reads_right(flaky, wanted, paths[n], n), range(reads)))
    lost = wanted.items() - server.objects(flaky.url.removeprefix("s3://caches/")).items()
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.counts.items()) if kind != "none")
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{server.name}: {reads} reads and {writes} writes took {len(proxy.requests)} requests, of which "
            f"{proxy.num_faults} failed ({faults}): {wrong} wrong, {len(lost)} lost"
        )
    assert (wrong, len(lost)) == (0, 0)
    assert proxy.num_faults > 0.3 * len(proxy.requests)


def _write_in_all_ways(objects: RemoteObjects, writes: int, pool: ThreadPoolExecutor) -> dict[str, bytes]:
    """Create, replace, swap, and find names taken; return what has to be there then."""
    rng, some = random.Random(writes), writes // 10
    wanted = {f"{n % 7}/{n:03d}": rng.randbytes(rng.randrange(1, 1 << 15)) for n in range(6 * some)}
    paths = list(wanted)
    others = {path: rng.randbytes(100) for path in paths[: 3 * some]}
    list(pool.map(lambda path: objects.put_new(path, wanted[path]), paths))
    list(pool.map(lambda path: objects.replace(path, others[path]), paths[:some]))
    list(pool.map(lambda path: objects.swap(path, wanted[path], others[path]), paths[some : 3 * some]))
    assert not any(pool.map(lambda path: objects.put_new(path, b"another's"), paths[-some:]))
    return wanted | others


def _reads_right(objects: RemoteObjects, wanted: dict[str, bytes], path: str, number: int) -> bool:
    """Read in one of four ways and compare."""
    data, folder, start = wanted[path], path[:1], len(wanted[path]) // 3
    if number % 4 == 0:
        return objects.get(path) == data
    if number % 4 == 1:
        return objects.get_range(path, start, 1000) == data[start : start + 1000]
    if number % 4 == 2:
        return objects.size(path) == len(data)
    found = {entry.path: entry.size for entry in objects.list(folder)}
    return found == {name: len(data) for name, data in wanted.items() if name.startswith(f"{folder}/")}


def test_objects_survive_a_pickle(objects: RemoteObjects) -> None:
    objects.put_new("a", b"1")
    copy = pickle.loads(pickle.dumps(objects))  # noqa: S301
    assert (copy.get("a"), copy.url) == (b"1", objects.url)


def test_a_child_of_a_process_that_has_asked_before_can_ask_too(objects: RemoteObjects) -> None:
    objects.put_new("a", b"1")
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0 if (objects.get("a"), objects.put_new("b", b"2")) == (b"1", True) else 3)
    while os.waitpid(child, os.WNOHANG) == (0, 0):  # it would wait for ever for threads that it does not have
        if time.monotonic() > started + 60:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    assert objects.get("b") == b"2"


def test_other_credentials_are_refused_and_never_shown(
    server: S3Server, objects: RemoteObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.name == "moto":
        pytest.skip("moto's server checks no credentials")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    with pytest.raises(StoreError, match="credentials") as refused:
        open_objects("s3://caches/x").put_new("a", b"")
    assert "hunter2" not in str(refused.value)


def test_a_bucket_that_is_not_there_is_explained(objects: RemoteObjects) -> None:
    with pytest.raises(StoreError, match=r"cannot write s3://no-such-bucket-here/x/a: "):
        open_objects("s3://no-such-bucket-here/x").put_new("a", b"")


def test_a_dead_server_is_an_error_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "1")
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"cannot write s3://caches/x/a: .*repeated for 1 s"):
        open_objects("s3://caches/x").put_new("a", b"")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan"])
def test_a_timeout_has_to_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", text)
    with pytest.raises(ConfigError, match="expected a number of seconds above 0"):
        open_objects("s3://caches/x")
