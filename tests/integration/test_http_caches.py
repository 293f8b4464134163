"""Caches on a real nginx: read, checked, copied and learned from, whatever the way between does."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.share.pull import pull
from kdcache.share.push import push
from kdcache.share.selection import Selection
from kdcache.store import open_cache
from kdcache.store.verify import verify
from kdcache.train import train
from tests.support.flaky_proxy import flaky_proxy
from tests.support.nginx import nginx
from tests.support.odd_server import python_server
from tests.support.precompute_runs import invoke
from tests.support.training import losses_of, small_cache, small_config

Made = tuple[list[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return (shards, cache): 6 blocks of 8 samples under 4 seeds of two teachers, two seeds an object."""
    folder = tmp_path_factory.mktemp("made")
    return small_cache(folder, rows_per_block=8, seeds_per_group=2, teachers=("formula", "other"))


@pytest.fixture(scope="module")
def root(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that is served: a cache that was pushed there, and one that was only copied."""
    folder = tmp_path_factory.mktemp("root")
    push(made[1], folder / "c.zarr", quiet=True)
    pull(
        made[1],
        folder / "bare.zarr",
        selection=Selection.parse(seeds="0-1", teachers="formula", shards="0"),
        quiet=True,
    )
    (folder / "bare.zarr" / "SHA256SUMS").unlink()
    return folder


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx(root, tmp_path_factory.mktemp("nginx")) as address:
        yield address


@pytest.fixture
def url(server: str) -> str:
    return f"{server}/c.zarr"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_commands_read_a_cache_from_its_address(made: Made, url: str) -> None:
    content_id = open_cache(made[1]).content_id()
    pinned = f"{url}@{content_id}"
    shown = invoke(["info", pinned, "--json"])
    assert shown.exit_code == 0, shown.stderr
    assert content_id in shown.stdout
    checked = invoke(["verify", pinned])
    assert (checked.exit_code, "is intact" in checked.stdout) == (0, True), checked.stderr
    assert verify(url).unknown == ()
    compared = invoke(["diff", str(made[1]), url])
    assert compared.exit_code == 0, compared.stderr
    with pytest.raises(ManifestMismatchError, match=content_id):
        open_cache(f"{url}@sha256:00000000")


def test_a_cache_comes_back_as_it_was(root: Path, url: str, tmp_path: Path) -> None:
    result = invoke(["pull", url, str(tmp_path / "c.zarr"), "--json", "--quiet"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["content_id"] == open_cache(root / "c.zarr").content_id()
    assert _files(tmp_path / "c.zarr") == _files(root / "c.zarr")
    again = pull(url, tmp_path / "c.zarr", quiet=True)
    assert (again.objects, again.reads) == (0, 0)


def test_a_part_takes_a_request_for_each_of_its_objects(root: Path, server: str, tmp_path: Path) -> None:
    selection = Selection.parse(seeds="0-1", teachers="other", shards="1")
    with flaky_proxy(server) as proxy:
        report = pull(f"{proxy.endpoint}/c.zarr", tmp_path / "part.zarr", selection=selection, quiet=True)
    pull(root / "c.zarr", tmp_path / "same.zarr", selection=selection, quiet=True)
    assert _files(tmp_path / "part.zarr") == _files(tmp_path / "same.zarr")
    asked = [path for method, path, _ in proxy.requests if "/c/" in path]
    assert len(asked) == len(set(asked)) == report.reads
    assert len(proxy.requests) - len(asked) < 12  # manifest, sums and index, however many units there are


def test_training_from_an_address_is_training_from_the_disk(made: Made, url: str, tmp_path: Path) -> None:
    shards, cache = made
    changes = {"teacher": ["other"], "workers": 1}
    train(small_config(tmp_path / "disk", shards, cache, **changes))
    train(small_config(tmp_path / "far", shards, url, **changes))  # type: ignore[arg-type]
    assert losses_of(tmp_path / "far" / "run") == losses_of(tmp_path / "disk" / "run")
    report = json.loads((tmp_path / "far" / "run" / "report.json").read_text())
    assert (report["cache"], report["cache_id"]) == (url, open_cache(cache).content_id())


def test_a_network_that_fails_every_third_request_changes_nothing(
    root: Path, server: str, tmp_path: Path
) -> None:
    with flaky_proxy(server, share=0.35) as proxy:
        far = f"{proxy.endpoint}/c.zarr"
        assert open_cache(far).content_id() == open_cache(root / "c.zarr").content_id()
        pull(far, tmp_path / "c.zarr", jobs=32, quiet=True)
    assert _files(tmp_path / "c.zarr") == _files(root / "c.zarr")
    assert all(proxy.counts.get(fault, 0) > 5 for fault in ("503", "reset before", "reset after", "cut"))


def test_a_server_that_ignores_ranges_is_read_all_the_same(root: Path, tmp_path: Path) -> None:
    with python_server(root) as address:
        pull(f"{address}/c.zarr", tmp_path / "c.zarr", quiet=True)
        cache, ours = open_cache(f"{address}/c.zarr"), open_cache(root / "c.zarr")
        for seed in range(4):
            assert (cache.view_digests(3, seed) == ours.view_digests(3, seed)).all()
            far, near = (one.targets("other", 3, seed).class_ids_NK for one in (cache, ours))
            assert far is not None
            assert near is not None
            assert np.array_equal(far, near)
    assert _files(tmp_path / "c.zarr") == _files(root / "c.zarr")


def test_a_cache_that_grew_after_its_push_is_read_by_its_records(made: Made, url: str, root: Path) -> None:
    sums = root / "c.zarr" / "SHA256SUMS"
    whole = sums.read_text()
    lines = [line for line in whole.splitlines(keepends=True) if "other" not in line]
    try:
        sums.write_text("".join(lines))
        assert verify(url).content_id == open_cache(url).content_id() == open_cache(made[1]).content_id()
        assert open_cache(url).is_committed("other/0-0")
    finally:
        sums.write_text(whole)


@pytest.mark.parametrize("folder", ["teachers/other/targets", "commits/other"])
def test_an_object_that_the_server_lacks_is_named(root: Path, url: str, folder: str) -> None:
    files = (root / "c.zarr" / folder).rglob("*")
    file = min(path for path in files if path.is_file() and path.name != "zarr.json")
    aside = file.rename(root / "aside")
    try:
        checked = invoke(["verify", url])
    finally:
        aside.rename(file)
    assert checked.exit_code == 3
    assert str(file.relative_to(root / "c.zarr")) in checked.stderr


def test_a_cache_without_sums_says_what_to_do(server: str, tmp_path: Path) -> None:
    for words in (["info"], ["verify"]):
        result = invoke([*words, f"{server}/bare.zarr"])
        assert result.exit_code == 3
        assert "must have been made by kdcache push" in result.stderr
    with pytest.raises(StoreError, match=r"there is no cache at .*/none"):
        open_cache(f"{server}/none")


def test_commands_that_write_are_refused_at_once(made: Made, server: str, url: str, tmp_path: Path) -> None:
    for words in (
        ["push", str(made[1]), f"{server}/new.zarr"],
        ["pull", str(made[1]), url],
        ["prune", str(made[1]), "--out", f"{server}/new.zarr", "--seeds", "0-1"],
        ["gc", url],
    ):
        result = invoke(words)
        assert (result.exit_code, "over http a cache is only read" in result.stderr) == (2, True), words


@pytest.mark.parametrize("way", ["refuses", "says nothing"])
def test_a_dead_server_is_an_error_within_the_timeout(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_REMOTE_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if way == "says nothing":
            silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/c.zarr"
        started = time.monotonic()
        with pytest.raises(StoreError, match=rf"cannot look up {address}/zarr\.json: .*repeated for 1 s"):
            open_cache(address)
    assert time.monotonic() - started < 5
