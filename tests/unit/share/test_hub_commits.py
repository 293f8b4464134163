"""The hub's client makes commits, and is stopped when it does not get on."""

import time
from collections.abc import Iterator

import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.share.hub_commits import HubCommits
from kdcache.store.hub_objects import HubObjects
from tests.support.hub import READER, WRITER, Hub, StoredFile, hub_server

# The client itself uses what its HTTP library has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

URL = "hf://datasets/ann/logits"
FILES = {"a/large": b"0123456789" * 20_000, "a/more": b"1", "zarr.json": b"{}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield running


def _begun(url: str = URL) -> tuple[HubObjects, HubCommits]:
    objects = HubObjects(url)
    commits = HubCommits(objects, jobs=2)
    commits.begin(private=False)
    return objects, commits


def test_files_are_in_one_commit_and_sent_once(hub: Hub) -> None:
    objects, commits = _begun()
    assert commits.commit(commits.upload(FILES), "add")
    assert hub.objects("ann/logits") == FILES | {".gitattributes": b"*.bin filter=lfs\n"}
    assert objects.commit == hub.repositories["ann/logits"].branches["main"]
    assert hub.count("PUT", "/large/") == 2
    assert hub.count("POST", "/commit/") == 1


def test_equal_files_are_sent_once(hub: Hub) -> None:
    _, commits = _begun()
    same = {f"a/{number}": FILES["a/large"] for number in range(8)}
    assert commits.commit(commits.upload(same), "add")
    assert {path: hub.objects("ann/logits")[path] for path in same} == same
    assert hub.count("PUT", "/large/") == 1


def test_a_file_may_be_sent_in_parts(hub: Hub) -> None:
    hub.part_bytes = 60_000
    _, commits = _begun()
    assert commits.commit(commits.upload(FILES), "add")
    assert hub.objects("ann/logits")["a/large"] == FILES["a/large"]
    assert hub.count("PUT", "/large/") == 4 + 1


def test_an_upload_that_broke_off_begins_anew(hub: Hub) -> None:
    _, commits = _begun()
    answers = iter([400])
    hub.before = lambda method, _path: next(answers, None) if method == "PUT" else None
    with pytest.raises(StoreError, match="it answered 400"):
        commits.upload(FILES)
    _, commits = _begun()
    assert commits.commit(commits.upload(FILES), "add")
    assert hub.objects("ann/logits")["a/large"] == FILES["a/large"]


def test_a_folder_of_a_repository_takes_a_cache(hub: Hub) -> None:
    objects, commits = _begun(f"{URL}/k50")
    assert commits.commit(commits.upload(FILES), "add")
    assert {path for path, *_ in objects.list("")} == set(FILES)
    assert "k50/zarr.json" in hub.objects("ann/logits")


def test_a_repository_is_made_as_it_was_asked_for(hub: Hub) -> None:
    HubCommits(HubObjects(URL), jobs=1).begin(private=True)
    assert hub.repositories["ann/logits"].private
    HubCommits(HubObjects(URL), jobs=1).begin(private=False)
    assert hub.count("POST", "/api/repos/create") == 1


def test_a_commit_on_another_one_is_not_made(hub: Hub) -> None:
    objects, commits = _begun()
    hub.repositories["ann/logits"].commit("main", {"theirs": StoredFile(b"", is_large=False)})
    assert not commits.commit(commits.upload(FILES), "add")
    assert set(hub.objects("ann/logits")) == {"theirs"}
    assert objects.commit == hub.repositories["ann/logits"].branches["main"]


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: Hub) -> None:
    _, commits = _begun()
    files = commits.upload(FILES)

    def lose(method: str, path: str) -> int | None:
        if method == "POST" and "/commit/" in path:
            hub.before = lambda _method, _path: None
            hub.repositories["ann/logits"].commit("main", {})  # as if it were ours
            return 504
        return None

    hub.before = lose
    assert not commits.commit(files, "add")
    assert len(hub.repositories["ann/logits"].commits) == 2


def test_a_commit_that_failed_is_tried_again(hub: Hub) -> None:
    _, commits = _begun()
    files = commits.upload(FILES)
    answers = iter([502])
    hub.before = lambda method, path: next(answers, None) if method == "POST" and "/commit/" in path else None
    assert commits.commit(files, "add")
    assert hub.objects("ann/logits")["zarr.json"] == b"{}"


def test_who_may_not_write_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _, commits = _begun()
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(StoreError, match=r"cannot write .*answered 403 You don't have the rights") as refused:
        commits.upload(FILES)
    assert READER not in str(refused.value)


def test_a_commit_is_no_place_to_push_to(hub: Hub) -> None:
    objects, _ = _begun()
    with pytest.raises(ConfigError, match="names a commit, which never changes"):
        _begun(f"{URL}@{objects.commit}")


def test_a_server_that_says_nothing_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "0.5")
    _, commits = _begun()

    def wait(method: str, _path: str) -> None:
        if method == "PUT":
            time.sleep(3)

    hub.before = wait
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"it says nothing; .*KDCACHE_REMOTE_TIMEOUT, now 0.5 s"):
        commits.upload(FILES)
    assert time.monotonic() - started < 2.5
