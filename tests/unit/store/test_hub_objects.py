"""A dataset repository is read as it was in one commit."""

import os
import pickle
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.store.hub_objects import HubObjects
from kdcache.store.objects import open_objects
from tests.support.hub import READER, Hub, Repository, StoredFile, hub_server

REPO = "ann/logits"
URL = f"hf://datasets/{REPO}"
FILES = {
    "README.md": b"# hello",
    "top/a/b": b"0123456789",
    "top/a/c d#": b"x",
    "top/zarr.json": b"{}",
    **{f"top/many/{number:02d}": b"%d" % number for number in range(60)},
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", READER)
        repository = running.repositories[REPO] = Repository()
        repository.commit("main", {path: StoredFile(data, "/a/" in path) for path, data in FILES.items()})
        running.large = {file.sha256: file.data for file in _files(running).values() if file.is_large}
        yield running


def _files(hub: Hub) -> dict[str, StoredFile]:
    repository = hub.repositories[REPO]
    return repository.commits[repository.branches["main"]]


@pytest.fixture
def objects(hub: Hub) -> HubObjects:
    opened = open_objects(f"{URL}/top/")
    assert isinstance(opened, HubObjects)
    return opened


@pytest.mark.parametrize(("path", "data"), [("a/b", b"0123456789"), ("zarr.json", b"{}"), ("a/c d#", b"x")])
def test_an_object_is_read_whole_and_in_ranges(objects: HubObjects, path: str, data: bytes) -> None:
    assert objects.get(path) == data
    assert objects.size(path) == len(data)
    assert objects.get_range(path, 1, 4) == data[1:5]
    assert objects.get_range(path, len(data) - 1, 100) == data[-1:]
    assert objects.get_range(path, len(data), 5) == objects.get_range(path, 0, 0) == b""


def test_a_listing_has_all_pages_and_its_sizes_ask_no_more(hub: Hub, objects: HubObjects) -> None:
    listed = list(objects.list(""))
    assert [(path, size) for path, size, _ in listed] == sorted(
        (path.removeprefix("top/"), len(data)) for path, data in FILES.items() if path.startswith("top/")
    )
    assert hub.count("GET", "/tree/") == 3
    before = len(hub.requests)
    assert objects.size("a/b") == 10
    assert [path for path, *_ in objects.list("a")] == ["a/b", "a/c d#"]
    with pytest.raises(FileNotFoundError):
        objects.size("none")
    assert len(hub.requests) == before


def test_a_folder_is_listed_alone(hub: Hub, objects: HubObjects) -> None:
    assert [path for path, *_ in objects.list("a")] == ["a/b", "a/c d#"]
    assert list(objects.list("none")) == list(objects.leftovers()) == []
    assert hub.count("GET", "/tree/") == 2


def test_large_files_have_their_sha256_and_texts_their_git_id(objects: HubObjects) -> None:
    files = objects.files()
    assert files["a/b"].holds(b"0123456789")
    assert files["zarr.json"].holds(b"{}")
    assert files["zarr.json"].sha256 is None
    assert not files["a/b"].holds(b"0123456780")
    assert not files["zarr.json"].holds(b"[]")


def test_a_missing_object_is_a_file_not_found(objects: HubObjects) -> None:
    for ask in (objects.get, objects.size, lambda path: objects.get_range(path, 0, 1)):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


def test_what_is_pushed_meanwhile_is_not_seen(hub: Hub, objects: HubObjects) -> None:
    assert objects.get("zarr.json") == b"{}"
    old = objects.commit
    new = hub.repositories[REPO].commit(
        "main", _files(hub) | {"top/zarr.json": StoredFile(b"[]", is_large=False)}
    )
    copy = pickle.loads(pickle.dumps(objects))  # noqa: S301
    assert objects.get("zarr.json") == copy.get("zarr.json") == b"{}"
    assert hub.count("GET", "/revision/") == 1
    assert open_objects(f"{URL}/top").get("zarr.json") == b"[]"
    assert open_objects(f"{URL}@{old}/top").get("zarr.json") == b"{}"
    objects.moved()
    assert (objects.commit, objects.get("zarr.json")) == (new, b"[]")


def test_a_child_of_a_process_that_has_asked_before_can_ask_too(hub: Hub, objects: HubObjects) -> None:
    assert objects.get("a/b") == b"0123456789"
    child = os.fork()
    if child == 0:
        os._exit(0 if objects.get("a/b") == b"0123456789" else 3)
    started = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > started + 60:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert objects.get("a/b") == b"0123456789"


def test_the_token_of_the_clients_file_opens_a_private_repository(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[REPO].private = True
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(StoreError, match=r"answered 401 .*HF_TOKEN or 'hf auth login'"):
        open_objects(URL).get("README.md")
    (tmp_path / "token").write_text(f"{READER}\n")
    assert open_objects(URL).get("README.md") == b"# hello"


def test_a_wrong_token_is_refused_and_never_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_hunter2hunter2")
    with pytest.raises(StoreError, match="answered 401 Invalid credentials") as refused:
        open_objects(URL).get("README.md")
    assert "hunter2" not in str(refused.value)


def test_a_missing_repository_and_a_missing_revision_are_explained(hub: Hub) -> None:
    with pytest.raises(StoreError, match="answered 404 Repository not found; there is no such dataset"):
        open_objects("hf://datasets/ann/none").get("a")
    with pytest.raises(StoreError, match="has no branch, tag or commit 'v2'"):
        list(open_objects(f"{URL}@v2").list(""))
    absent = HubObjects("hf://datasets/ann/none")
    assert not absent.is_there()
    assert list(absent.list("")) == []
    assert HubObjects(URL).is_there()


def test_nothing_is_written_object_by_object(objects: HubObjects) -> None:
    for write in (
        objects.settle,
        lambda: objects.put_new("a", b""),
        lambda: objects.replace("a", b""),
        lambda: objects.swap("a", None, b""),
        lambda: objects.delete("a/b"),
    ):
        with pytest.raises(ConfigError, match="publish it with kdcache push when it is finished"):
            write()


def test_a_dead_server_is_an_error_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "0.5")
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"cannot read hf://datasets/ann/logits: .*repeated for 0.5 s"):
        open_objects(URL).get("a")
    assert time.monotonic() - started < 10


def test_a_hub_that_must_not_be_asked_is_not(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StoreError, match="HF_HUB_OFFLINE is set"):
        open_objects(URL).get("a")
    assert hub.requests == []
