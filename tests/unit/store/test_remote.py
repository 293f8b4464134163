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
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.store.objects import open_objects
from kdcache.store.remote import RemoteObjects
from tests.support.azurite import Azurite, azurite
from tests.support.flaky_proxy import flaky_proxy
from tests.support.s3 import SERVERS, S3Server

Server = S3Server | Azurite
SOAK = [pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=[*SERVERS, "azurite"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp(request.param)
    with _running(request.param, folder) as running:
        yield running


def _running(name: str, folder: Path) -> AbstractContextManager[Server]:
    return azurite(folder) if name == "azurite" else SERVERS[name](folder)


def _scheme(server: Server) -> str:
    return "az" if isinstance(server, Azurite) else "s3"


def _address(server: Server) -> str:
    return server.address if isinstance(server, Azurite) else server.endpoint


def _through(server: Server, address: str) -> dict[str, str]:
    """Return the environment with the address of a proxy before the server."""
    if isinstance(server, Azurite):
        return server.environment_through(address)
    return {"AWS_ENDPOINT_URL": address}


@pytest.fixture
def objects(server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> RemoteObjects:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    opened = open_objects(f"{_scheme(server)}://caches/{request.node.originalname}/cache.zarr/")
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
    server: Server,
    objects: RemoteObjects,
    reads: int,
    writes: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        flaky_proxy(_address(server), share=0.35, seed=20261121) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in _through(server, proxy.endpoint).items():
            patch.setenv(name, value)
        flaky = RemoteObjects(f"{objects.url}/{reads}")
        with ThreadPoolExecutor(16) as pool:
            wanted = _write_in_all_ways(flaky, writes, pool)
            paths = [random.Random(n).choice(list(wanted)) for n in range(reads)]
            wrong = sum(pool.map(lambda n: not _reads_right(flaky, wanted, paths[n], n), range(reads)))
    direct = RemoteObjects(flaky.url)
    lost = wanted.items() - {(entry.path, direct.get(entry.path)) for entry in direct.list("")}
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.counts.items()) if kind != "none")
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{_scheme(server)} ({_address(server)}): {reads} reads and {writes} writes took "
            f"{len(proxy.requests)} requests, of which {proxy.num_faults} failed ({faults}): {wrong} wrong, "
            f"{len(lost)} lost"
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
    server: Server, objects: RemoteObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(server, S3Server) and server.name == "moto":
        pytest.skip("moto's server checks no credentials")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMi1odW50ZXIy")
    with pytest.raises(StoreError, match=r"403 .* credentials") as refused:
        open_objects(f"{_scheme(server)}://caches/x").put_new("a", b"")
    assert "hunter2" not in str(refused.value)
    assert "aHVudGVy" not in str(refused.value)


def test_a_token_in_the_requests_of_azure_is_never_shown(
    server: Server, objects: RemoteObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(server, S3Server):
        pytest.skip("Azure's alone go into the address")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021-08-06&sr=c&sig=hunter2")
    with pytest.raises(StoreError, match="403 ") as refused:
        open_objects("az://caches/x").put_new("a", b"")
    assert "hunter2" not in str(refused.value)


def test_a_bucket_that_is_not_there_is_explained(server: Server, objects: RemoteObjects) -> None:
    place = f"{_scheme(server)}://no-such-bucket-here/x"
    with pytest.raises(StoreError, match=rf"cannot write {place}/a: there is no such (bucket|container)"):
        open_objects(place).put_new("a", b"")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_dead_server_is_an_error_within_the_timeout(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    secret = "aHVudGVyMi1odW50ZXIy"  # noqa: S105 - of no server
    settings = {
        "AWS_ENDPOINT_URL": dead,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": secret,
        "GOOGLE_BASE_URL": dead,
        "GOOGLE_BEARER_TOKEN": secret,
        "AZURE_STORAGE_ENDPOINT": dead,
        "AZURE_STORAGE_ACCOUNT_NAME": "test",
        "AZURE_STORAGE_ACCOUNT_KEY": secret,
        "KDCACHE_REMOTE_TIMEOUT": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    with pytest.raises(
        StoreError, match=rf"cannot write {scheme}://caches/x/a: .*repeated for 1 s"
    ) as caught:
        open_objects(f"{scheme}://caches/x").put_new("a", b"")
    assert 0.8 < time.monotonic() - started < 5
    assert secret not in str(caught.value)


def test_azure_without_an_account_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(
        ConfigError, match=r"Account must be specified; write az://.*AZURE_STORAGE_ACCOUNT_NAME"
    ):
        open_objects("az://caches/x").get("a")


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan"])
def test_a_timeout_has_to_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", text)
    with pytest.raises(ConfigError, match="expected a number of seconds above 0"):
        open_objects("s3://caches/x")
