"""A cache is made whole again, to the byte, or nothing is written."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError, ManifestMismatchError, StoreError
from kdcache.precompute import precompute
from kdcache.precompute.repair import RepairReport, repair
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.precompute_runs import TINY, config_for, invoke
from tests.support.shards import write_shard, write_shards

FEATURES = {"model": "tests.support.teachers:feature_cnn", "features": True}
TEACHERS: list[dict[str, Any]] = [{"model": TINY}, FEATURES]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("shards")
    bad = folder / "train-001.tar"
    paths = write_shards(folder, [9, 5])
    write_shard(bad, range(9, 14), images={11: b"not a picture"})
    return paths


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("repair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        config = config_for(
            folder / "c", shards, teachers=TEACHERS, combine="mean-prob", max_bad=1.0, parallel_batches=2
        )
        precompute(config, quiet=True)
    return folder / "c"


@pytest.fixture
def cache(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(made, tmp_path / "c"))


def _repair(cache: Path, shards: list[str], **changes: Any) -> RepairReport:
    settings = {"cache": str(cache), "shards": shards, "readers": 0, "device": "cpu"}
    dry_run = changes.pop("dry_run", False)
    return repair(settings | changes, where="test", dry_run=dry_run, quiet=True)


def _files(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_whole_cache_is_left_alone(cache: Path, shards: list[str]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    report = _repair(cache, [])
    assert "is whole: nothing was touched" in report.summary()
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == stamps


def test_everything_that_can_break_is_made_whole(cache: Path, made: Path, shards: list[str]) -> None:
    kinds = (
        "samples/label/c/2",
        "views/thumbnail/c/1/0/0/0/0",
        "views/digest/c/0/1",
        "teachers/tiny_cnn/targets/c/1/0/2",
    )
    more = ("teachers/feature_cnn.features/targets/c/0/0/0", "teachers/ensemble/targets/c/1/0/1")
    for path in (*kinds, "views/zarr.json", "commits/index.json"):
        _flip(cache / path)
    for path in more:
        (cache / path).unlink()
    report = _repair(cache, shards, teachers=TEACHERS, combine="mean-prob")
    assert sorted(one["path"] for one in report.objects) == sorted([*kinds, *more])
    assert report.documents == ("views/zarr.json", "commits/index.json")
    assert _files(cache) == _files(made)
    assert verify(cache).content_id == report.content_id == open_cache(made).content_id()


def test_only_what_is_broken_is_written(cache: Path, shards: list[str]) -> None:
    _flip(cache / "teachers/tiny_cnn/targets/c/0/0/0")
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    _repair(cache, shards, teachers=[TINY])
    touched = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert touched == [cache / "teachers/tiny_cnn/targets/c/0/0/0"]


def test_a_dry_run_says_what_is_needed(cache: Path) -> None:
    (cache / "teachers/tiny_cnn/targets/c/1/0/2").unlink()
    _flip(cache / "samples/key/c/0")
    before = _files(cache)
    report = _repair(cache, [], dry_run=True)
    assert (report.shards, report.teachers) == (("train-000.tar", "train-001.tar"), ("tiny_cnn",))
    assert (
        "broken; nothing was written\nneeded: shards train-000.tar, train-001.tar; teachers tiny_cnn"
        in report.summary()
    )
    assert _files(cache) == before


def test_other_bytes_are_never_written(cache: Path, tmp_path: Path, shards: list[str]) -> None:
    """The same keys, sizes and headers, but another label: the shard's digest does not tell."""
    other = tmp_path / "other" / "train-001.tar"
    other.parent.mkdir()
    labels = {number: number % 10 for number in range(9, 14)} | {10: 7}
    write_shard(other, range(9, 14), images={11: b"not a picture"}, labels=labels)
    _flip(cache / "samples/label/c/2")
    before = _files(cache)
    message = r"samples/label/c/2 of samples/2 in .* comes out with other bytes than its commit record tells"
    with pytest.raises(ManifestMismatchError, match=message):
        _repair(cache, [str(other)])
    assert _files(cache) == before


def test_what_was_repaired_stays_when_more_is_needed(cache: Path, made: Path, shards: list[str]) -> None:
    _flip(cache / "samples/key/c/0")
    (cache / "views/digest/zarr.json").unlink()
    with pytest.raises(ConfigError, match=r"not given: train-000.tar"):
        _repair(cache, [shards[1]])
    assert (cache / "views/digest/zarr.json").exists()
    _repair(cache, [shards[0]])
    assert _files(cache) == _files(made)


def test_there_has_to_be_a_cache(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no cache at"):
        _repair(tmp_path / "none", [])


def test_the_command_repairs(cache: Path, made: Path, shards: list[str]) -> None:
    _flip(cache / "teachers/tiny_cnn/targets/c/0/0/0")
    words = ["repair", str(cache), "--teacher", TINY, "--readers", "0", "--device", "cpu", "-q"]
    lacking = invoke([*words, "--shards", shards[1]])
    assert (lacking.exit_code, "train-000.tar" in lacking.stderr) == (2, True)
    result = invoke([*words, "--shards", shards[0], "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["objects"][0]["unit"] == "tiny_cnn/0-0"
    assert _files(cache) == _files(made)
    assert "is whole" in invoke(["repair", str(cache), "-q"]).stdout
