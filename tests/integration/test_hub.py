"""Caches on a hub: the real client against a server that answers as a hub does."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcache.share.push import push
from kdcache.store import open_cache
from kdcache.train import train
from tests.support.flaky_proxy import flaky_proxy
from tests.support.hub import READER, WRITER, Hub, hub_server
from tests.support.precompute_runs import invoke
from tests.support.processes import launch, run_facts
from tests.support.stores import make_manifest, make_store
from tests.support.training import losses_of, small_cache, small_config

# The client itself uses what its HTTP library has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "ann/logits"
URL = f"hf://datasets/{REPO}"
WRONG = "hf_hunter2hunter2"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("cache") / "c.zarr")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def test_a_cache_comes_back_from_a_hub_as_it_was(hub: Hub, cache: Path, tmp_path: Path) -> None:
    hub.page = 10
    pushed = json.loads(invoke(["push", str(cache), URL, "--private", "--quiet", "--json"]).stdout)
    assert hub.repositories[REPO].private
    assert pushed["content_id"] == open_cache(URL).content_id()
    pinned = f"{URL}@main@{pushed['content_id'][:20]}"
    for words in (["info", pinned], ["verify", pinned], ["diff", str(cache), URL]):
        result = invoke(words)
        assert result.exit_code == 0, result.output
    result = invoke(["pull", URL, str(tmp_path / "d.zarr")])
    assert result.exit_code == 0, result.stderr
    copied = _files(tmp_path / "d.zarr")
    copied.pop("SHA256SUMS")
    assert copied == _files(cache)
    part = invoke(["pull", URL, str(tmp_path / "part.zarr"), "--seeds", "2-3", "--quiet", "--json"])
    assert json.loads(part.stdout)["parent"] == pushed["content_id"]


def test_an_older_revision_is_the_older_cache(hub: Hub, cache: Path, tmp_path: Path) -> None:
    push(cache, URL, quiet=True)
    old = hub.repositories[REPO].branches["main"]
    newer = make_store(tmp_path / "n.zarr", make_manifest(num_samples=(3,)))
    refused = invoke(["push", str(newer), URL])
    assert (refused.exit_code, "holds another cache" in refused.stderr) == (4, True)
    hub.repositories[REPO].commit("main", {})  # as its owner may
    push(newer, URL, quiet=True)
    for revision, expected in (("", newer), (f"@{old}", cache)):
        folder = tmp_path / f"pulled{len(revision)}"
        assert invoke(["pull", f"{URL}{revision}", str(folder), "--quiet"]).exit_code == 0
        assert open_cache(folder).content_id() == open_cache(expected).content_id()
    result = invoke(["info", f"{URL}@{open_cache(cache).content_id()}"])
    assert (result.exit_code, "is not the pinned one" in result.stderr) == (4, True)


@pytest.mark.parametrize(
    "moment", [("PUT", "/large/", 12), ("POST", "/commit/", 1), ("GET", "/tree/", 2)], ids=lambda one: one[1]
)
def test_a_push_that_is_killed_goes_on_to_the_same_cache(
    hub: Hub, cache: Path, tmp_path: Path, moment: tuple[str, str, int]
) -> None:
    method, part, number = moment
    killed: list[int] = []

    def kill(one: str, path: str) -> None:
        if one == method and part in path and not killed and hub.count(method, part) == number:
            killed.append(hub.count("PUT", "/large/"))
            process.kill_group()

    hub.before = kill
    process = launch(["kdcache", "push", str(cache), URL, "--jobs", "1", "--quiet"])
    assert process.wait(60) == -9, process.communicate()
    deadline = time.monotonic() + 10
    while not killed:
        assert time.monotonic() < deadline
    facts = run_facts(["kdcache", "push", str(cache), URL, "--quiet", "--json"])
    assert facts["content_id"] == open_cache(cache).content_id()
    # At most the one in flight is sent twice.
    assert hub.count("PUT", "/large/") <= len(hub.large) + 1
    result = invoke(["pull", URL, str(tmp_path / "d.zarr"), "--quiet"])
    assert result.exit_code == 0, result.stderr
    copied = _files(tmp_path / "d.zarr")
    copied.pop("SHA256SUMS")
    assert copied == _files(cache)


def test_training_from_a_hub_is_training_from_the_disk(hub: Hub, tmp_path: Path) -> None:
    shards, made = small_cache(tmp_path, rows_per_block=8, seeds_per_group=2)
    push(made, URL, quiet=True)
    looked_up = hub.count("GET", "/revision/")
    losses = []
    for name, address in (("disk", made), ("hub", f"{URL}@main")):
        (tmp_path / name).mkdir()
        config = small_config(tmp_path / name, shards, address, workers=0 if name == "disk" else 1, steps=8)  # type: ignore[arg-type]
        train(config)
        losses.append(losses_of(config.out))
    assert losses[0] == losses[1]
    assert hub.count("GET", "/revision/") == looked_up + 1


def test_a_network_that_fails_loses_nothing(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(cache, URL, quiet=True)
    with flaky_proxy(hub.endpoint, share=0.35, seed=1) as proxy:
        monkeypatch.setenv("HF_ENDPOINT", proxy.endpoint)
        assert invoke(["pull", URL, str(tmp_path / "d.zarr"), "--quiet"]).exit_code == 0
        assert sum(count for kind, count in proxy.counts.items() if kind != "none") > 10
    copied = _files(tmp_path / "d.zarr")
    copied.pop("SHA256SUMS")
    assert copied == _files(cache)


def test_only_finished_caches_come_to_a_hub(hub: Hub, cache: Path, tmp_path: Path) -> None:
    push(cache, URL, quiet=True)
    before = hub.objects(REPO)
    again = shutil.copytree(cache, tmp_path / "again.zarr")
    for words in (
        ["precompute", "none.tar", "--cache", URL, "--teacher", "resnet18", "--views", "1"],
        ["extend", "--cache", URL, "--views", "8"],
        ["merge", str(cache), str(again), "--out", f"{URL}/merged"],
        ["prune", str(cache), "--out", f"{URL}/pruned", "--seeds", "0-1"],
    ):
        result = invoke(words)
        assert (result.exit_code, "publish it with kdcache push" in result.stderr) == (2, True), result.output
    assert hub.objects(REPO) == before


@pytest.mark.parametrize(
    "words", [["push", "CACHE", URL], ["pull", URL, "NEW"], ["info", URL], ["verify", URL]]
)
@pytest.mark.parametrize("refused", [(WRONG, "Invalid credentials"), (READER, "")])
def test_a_token_is_never_printed(
    hub: Hub, cache: Path, words: list[str], refused: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    token, reason = refused
    request.getfixturevalue("monkeypatch").setenv("HF_TOKEN", token)
    places = {"CACHE": str(cache), "NEW": str(request.getfixturevalue("tmp_path") / "new.zarr")}
    logged = request.getfixturevalue("caplog")
    with logged.at_level("DEBUG"):
        result = invoke(["--debug", *(places.get(word, word) for word in words)])
    assert result.exit_code == 3
    assert "cannot " in result.output
    assert reason in result.output
    assert token not in result.output + logged.text
    assert hub.repositories == {}
