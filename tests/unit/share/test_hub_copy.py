"""A cache comes to a hub in few commits, and half of it is gone on with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, ManifestMismatchError, StoreError
from kdcache.share import hub_copy
from kdcache.share.push import push
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.hub import WRITER, Hub, StoredFile, hub_server
from tests.support.stores import make_manifest, make_store

# The client itself uses what its HTTP library has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "ann/logits"
URL = f"hf://datasets/{REPO}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("cache") / "c.zarr")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield running


def test_a_small_cache_is_one_commit(hub: Hub, cache: Path) -> None:
    looked = push(cache, URL, dry_run=True)
    assert hub.repositories == {}
    pushed = push(cache, URL, quiet=True)
    assert (looked.objects, looked.num_bytes) == (pushed.objects, pushed.num_bytes)
    assert pushed.notes == (f"the commit is {hub.repositories[REPO].branches['main']}",)
    assert hub.count("POST", "/commit/") == 1
    assert verify(URL).content_id == open_cache(cache).content_id()
    again = push(cache, URL, quiet=True)
    assert (again.objects, again.present, again.reads) == (0, pushed.objects, 0)
    assert hub.count("POST", "/commit/") == 1


def test_the_manifest_is_in_the_last_of_several_commits(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_copy, "_FILES_A_COMMIT", 20)
    monkeypatch.setattr(hub_copy, "_BYTES_AT_ONCE", 2000)
    push(cache, URL, quiet=True, extra_files={"README.md": b"# card"})
    states = list(hub.repositories[REPO].commits.values())
    assert len(states) >= 4
    assert ["zarr.json" in files for files in states] == [False] * (len(states) - 1) + [True]
    assert ["README.md" in files for files in states] == ["zarr.json" in files for files in states]


def _push_two_commits(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a push that the hub refuses after two commits of 20 files."""
    monkeypatch.setattr(hub_copy, "_FILES_A_COMMIT", 20)
    hub.before = lambda _method, path: (
        403 if "/commit/" in path and hub.count("POST", "/commit/") > 2 else None
    )
    with pytest.raises(StoreError, match="cannot write"):
        push(cache, URL, quiet=True)
    hub.before = lambda _method, _path: None


def test_a_push_that_failed_between_commits_sends_only_the_rest(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _push_two_commits(hub, cache, monkeypatch)
    sent = hub.count("PUT", "/large/")
    report = push(cache, URL, quiet=True)
    assert report.present == 40
    # What is equal is sent once: not what was sent before the commit that failed, either.
    assert hub.count("PUT", "/large/") == len(hub.large) >= sent
    assert verify(URL).content_id == open_cache(cache).content_id()


def test_a_hub_that_keeps_all_as_large_files_knows_their_sums(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.texts_are_large = True
    _push_two_commits(hub, cache, monkeypatch)
    read = hub.count("GET", "/resolve/")
    assert push(cache, URL, dry_run=True).read_back == 0
    assert hub.count("GET", "/resolve/") == read
    push(cache, URL, quiet=True)
    assert verify(URL).content_id == open_cache(cache).content_id()


def test_a_card_beside_the_cache_goes_along_and_may_change(hub: Hub, cache: Path, tmp_path: Path) -> None:
    copy = make_store(tmp_path / "c.zarr")
    (copy / "README.md").write_text("---\nlicense: mit\n---\nhello\n")
    push(copy, URL, quiet=True)
    assert hub.objects(REPO)["README.md"].endswith(b"hello\n")
    push(copy, URL, quiet=True)
    assert hub.count("POST", "/commit/") == 1
    push(cache, URL, quiet=True, extra_files={"README.md": b"# other", "croissant.json": b"{}"})
    assert hub.objects(REPO)["README.md"] == b"# other"
    assert hub.objects(REPO)["croissant.json"] == b"{}"
    push(cache, URL, quiet=True)
    assert hub.objects(REPO)["README.md"] == b"# other"


def test_only_a_hub_has_private_repositories(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not on a hub"):
        push(cache, tmp_path / "d.zarr", private=True)


def test_another_cache_and_other_files_there_are_refused(hub: Hub, cache: Path, tmp_path: Path) -> None:
    push(cache, URL, quiet=True)
    other = make_store(tmp_path / "o.zarr", make_manifest(num_samples=(3,)))
    with pytest.raises(ManifestMismatchError, match="holds another cache"):
        push(other, URL, quiet=True)
    hub.repositories[REPO].commit("main", {"notes.txt": StoredFile(b"", is_large=False)})
    with pytest.raises(StoreError, match=r"holds notes.txt, which is no part of this copy"):
        push(cache, URL, quiet=True)


def test_a_part_of_another_cache_is_refused(hub: Hub, cache: Path, tmp_path: Path) -> None:
    push(cache, URL, quiet=True)
    files = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]
    record = next(path for path in files if path.startswith("commits/samples"))
    half = {path: file for path, file in files.items() if path != "zarr.json"}
    hub.repositories[REPO].commit("main", half | {record: StoredFile(b"{}", is_large=False)})
    with pytest.raises(ManifestMismatchError, match=f"holds another object under the name {record}"):
        push(cache, URL, quiet=True)


def test_two_pushes_of_one_cache_come_to_one(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_copy, "_FILES_A_COMMIT", 20)
    others: list[str] = []

    def push_between(method: str, path: str) -> None:
        if method == "POST" and "/commit/" in path and not others:
            others.append(path)
            push(cache, URL, quiet=True)

    hub.before = push_between
    push(cache, URL, quiet=True)
    assert verify(URL).content_id == open_cache(cache).content_id()
    assert hub.count("POST", "/commit/") == len(hub.repositories[REPO].commits)


def test_a_file_that_the_repository_leaves_out_is_named(hub: Hub, cache: Path) -> None:
    hub.ignored = "commits/index.json"
    with pytest.raises(StoreError, match=r"does not have commits/index.json \(1 such files\), although"):
        push(cache, URL, quiet=True)
