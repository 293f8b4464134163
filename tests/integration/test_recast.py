"""Caches of real runs: parts become the whole, smaller ones are what stage one would have made, S3 as disk."""

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcache.config.precompute import PrecomputeConfig
from kdcache.precompute import extension_of, precompute
from kdcache.precompute.plan import Task
from kdcache.precompute.prepare import Settings, prepare, work_of
from kdcache.precompute.worker import Worker
from kdcache.recast import diff, merge, prune
from kdcache.runtime.interrupt import Interrupts
from kdcache.store import open_cache
from kdcache.store.block_reader import BlockReader
from kdcache.store.objects import LocalObjects
from kdcache.store.verify import verify
from kdcache.train import train
from tests.support.precompute_runs import TINY, config_for, data_objects, invoke
from tests.support.processes import launch
from tests.support.s3 import S3Server, moto_server
from tests.support.shards import write_shards
from tests.support.training import losses_of, small_config

OTHER = {"model": TINY, "name": "other", "kwargs": {"seed": 7}}
BOTH = [{"model": TINY}, OTHER]
MANY = {"model": TINY, "name": "many", "kwargs": {"num_classes": 40}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def shards(folder: Path) -> list[str]:
    return write_shards(folder / "shards", [13, 6, 9])


@pytest.fixture(scope="module")
def whole(folder: Path, shards: list[str]) -> Path:
    """Return the cache that was made in one go."""
    precompute(config_for(folder / "whole", shards, teachers=BOTH), quiet=True)
    return folder / "whole"


class _Given:
    """Tasks of one worker that never helps others."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = list(tasks)

    def more(self) -> bool:
        return bool(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        while self._tasks:
            yield self._tasks.pop(0)


def _share(config: PrecomputeConfig, number: int, count: int) -> None:
    """Do one share of a run, and no more."""
    prepared = prepare(Settings.of(config), say=lambda _: None)
    worker = Worker(prepared, num_samples=100, advance=lambda _: None)
    with Interrupts() as interrupts:
        worker.run(_Given(work_of(prepared).pending[number::count]), interrupts, lambda: "")
    prepared.writer.finish()


def _is_whole(report: Any, whole: Path, target: Path) -> bool:
    assert verify(target).content_id == report.content_id
    assert data_objects(target) == data_objects(whole)
    return bool(report.content_id == open_cache(whole).content_id())


def test_shares_of_one_manifest_become_the_cache_made_in_one_go(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    for number in range(2):
        _share(config_for(tmp_path / f"{number}", shards, teachers=BOTH), number, 2)
    report = merge([tmp_path / "1", tmp_path / "0"], tmp_path / "m", quiet=True)
    assert _is_whole(report, whole, tmp_path / "m")


def test_caches_of_other_shards_become_the_cache_made_in_one_go(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    for name, given in (("even", shards[::2]), ("odd", shards[1::2])):
        precompute(config_for(tmp_path / name, given, teachers=BOTH), quiet=True)
    report = merge([tmp_path / "odd", tmp_path / "even"], tmp_path / "m", quiet=True)
    assert _is_whole(report, whole, tmp_path / "m")


def test_caches_of_other_seeds_and_teachers_become_the_cache_made_in_one_go(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    precompute(config_for(tmp_path / "mine", shards, views=2), quiet=True)
    precompute(config_for(tmp_path / "theirs", shards, teachers=[OTHER]), quiet=True)
    # A colleague's machine that only has the later seeds: their earlier units were dropped.
    precompute(config_for(tmp_path / "late", shards), quiet=True)
    prune(tmp_path / "late", tmp_path / "later", seeds="2-3", quiet=True)
    report = merge([tmp_path / name for name in ("mine", "theirs", "later")], tmp_path / "m", quiet=True)
    assert _is_whole(report, whole, tmp_path / "m")


def test_a_merged_cache_trains_like_the_one_made_in_one_go(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    parts = [
        prune(whole, tmp_path / name, seeds=seeds, quiet=True).out for name, seeds in (("a", "0"), ("b", "2"))
    ]
    merge(parts, tmp_path / "m", quiet=True)
    losses = []
    for name, cache in (("one", whole), ("other", tmp_path / "m")):
        config = small_config(tmp_path / name, shards, cache, steps=3, teacher="tiny_cnn")
        train(config)
        losses.append(losses_of(config.out))
    assert losses[0] == losses[1]


def test_a_pruned_cache_can_be_extended_to_the_whole_again(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    report = prune(whole, tmp_path / "p", seeds="0-1", teachers=["tiny_cnn"], quiet=True)
    precompute(config_for(tmp_path / "w", shards, views=2), quiet=True)
    assert _is_whole(report, tmp_path / "w", tmp_path / "p")
    settings = {
        "shards": shards,
        "cache": str(tmp_path / "p"),
        "teachers": BOTH,
        "views": 4,
        "readers": 0,
        "device": "cpu",
    }
    precompute(extension_of(settings | {"teacher_check": False}, where="test"), grow=True, quiet=True)
    assert open_cache(tmp_path / "p").content_id() == open_cache(whole).content_id()


def _planes(cache: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    opened = open_cache(cache)
    reader = BlockReader(LocalObjects(cache), opened.layout)
    cells = [(block.index, seed) for block in opened.blocks for seed in range(opened.identity.num_aug_seeds)]
    return np.stack([reader.planes("many", block, seed) for block, seed in cells])


def test_a_smaller_k_is_what_stage_one_writes_for_it(tmp_path: Path, shards: list[str]) -> None:
    for name, kept in (("20", {"top_k": 20}), ("6", {"top_k": 6}), ("all", {"encoding": "float32"})):
        precompute(config_for(tmp_path / name, shards[:2], teachers=[MANY | kept]), quiet=True)
    wanted = open_cache(tmp_path / "6")
    exact = prune(tmp_path / "all", tmp_path / "p-all", top_k=6, quiet=True)
    assert exact.content_id == wanted.content_id() == verify(tmp_path / "p-all").content_id
    prune(tmp_path / "20", tmp_path / "p-20", top_k=6, quiet=True)
    verify(tmp_path / "p-20")
    assert open_cache(tmp_path / "p-20").identity.canonical() == wanted.identity.canonical()
    ours, theirs = _planes(tmp_path / "p-20"), _planes(tmp_path / "6")
    # 6 ids, 5 gaps, top-1, number of the tail | the rest of the tail
    assert (ours[:, :13] == theirs[:, :13]).all()
    tails = ours[:, 13:].view(np.int16).astype(int) - theirs[:, 13:].view(np.int16).astype(int)
    assert np.abs(tails).max() <= 3
    found = diff(tmp_path / "p-20", tmp_path / "6", quiet=True)
    assert found.values["many"].top1_agreement == 1.0
    assert found.values["many"].worst_kl is not None
    assert found.values["many"].worst_kl < 1e-3


STEPS = (
    ("after", "root", 1),
    ("linked", "samples/digest", 2),
    ("temporary written", "views/digest", 3),
    ("after", "views record", 2),
    ("before", "targets record", 4),
    ("linked", "targets", 2),
    ("before", "index", 1),
)
# One thread: kill_steps counts the puts of one.
MERGE = """
import sys
from kdcache.recast import build, merge
build._THREADS = 1
merge(sys.argv[1:-1], sys.argv[-1], quiet=True)
"""


def test_a_merge_that_is_killed_goes_on_and_ends_the_same(tmp_path: Path, whole: Path) -> None:
    parts = [prune(whole, tmp_path / name, teachers=[name], quiet=True).out for name in ("tiny_cnn", "other")]
    (tmp_path / "merge.py").write_text(MERGE, encoding="utf-8")
    units = []
    for step in STEPS:
        process = launch([str(tmp_path / "merge.py"), *parts, str(tmp_path / "m")], step=step)
        assert process.wait(timeout=60) == -signal.SIGKILL, process.communicate()
        units.append(verify(tmp_path / "m").units)
    assert units == sorted(units)
    assert units[0] < units[-1]
    assert _is_whole(merge(parts, tmp_path / "m", quiet=True), whole, tmp_path / "m")


def test_the_commands_say_what_they_do(tmp_path: Path, shards: list[str], whole: Path) -> None:
    small, rest = str(tmp_path / "small"), str(tmp_path / "rest")
    result = invoke(["prune", str(whole), "--out", small, "--seeds", "0-1", "-q", "--json"])
    assert json.loads(result.stdout)["units"] == {"samples": 5, "views": 5, "tiny_cnn": 5, "other": 5}
    assert invoke(["prune", str(whole), "--out", rest, "--seeds", "3", "-q"]).exit_code == 0
    info = json.loads(invoke(["info", small, "--json"]).stdout)
    assert info["about"]["parent"]["content_id"] == open_cache(whole).content_id()
    different = invoke(["diff", small, rest, "-q"])
    assert (different.exit_code, "5 units in A only: views/0-0" in different.stdout) == (1, True)
    words = ["merge", small, rest, "--out", str(tmp_path / "m"), "-q"]
    dry = invoke([*words, "--dry-run"])
    assert "would hold 35 units (samples 5, views 10, tiny_cnn 10, other 10; complete)" in dry.stdout
    assert not (tmp_path / "m").exists()
    assert f"content id {open_cache(whole).content_id()}" in invoke(words).stdout
    equal = invoke(["diff", str(whole), str(tmp_path / "m"), "--json", "-q"])
    assert (equal.exit_code, json.loads(equal.stdout)["equal"]) == (0, True)


def test_conflicts_exit_with_4_and_bad_requests_with_2(
    tmp_path: Path, shards: list[str], whole: Path
) -> None:
    precompute(config_for(tmp_path / "x", shards, rows_per_block=16), quiet=True)
    conflict = invoke(["merge", str(whole), str(tmp_path / "x"), "--out", str(tmp_path / "m"), "-q"])
    assert (conflict.exit_code, "rows_per_block is 8 in" in conflict.stderr) == (4, True)
    for words in (["--seeds", "9"], ["--teachers", "none"], [], ["--top-k", "99"]):
        assert invoke(["prune", str(whole), "--out", str(tmp_path / "m"), *words]).exit_code == 2
    assert invoke(["diff", str(whole), str(tmp_path / "nothing")]).exit_code == 3
    assert not (tmp_path / "m").exists()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with moto_server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_an_object_store_is_a_disk(tmp_path: Path, shards: list[str], whole: Path, server: S3Server) -> None:
    first = prune(whole, "s3://caches/first", seeds="0-1", quiet=True)
    prune(whole, tmp_path / "second", seeds="2-3", quiet=True)
    report = merge([first.out, tmp_path / "second"], "s3://caches/both", quiet=True)
    assert report.content_id == open_cache(whole).content_id()
    assert diff(whole, "s3://caches/both", quiet=True).is_equal
    objects = server.objects("both")
    for path in ("teachers/other/targets/c/1/0/2", "samples/key/c/0"):
        server.client().put_object(Bucket="caches", Key=f"both/{path}", Body=b"damaged")
    words = [word for shard in shards for word in ("--shards", shard)]
    teacher = [
        "--teacher",
        f"other={TINY}",
        "--teacher-kwargs",
        "seed=7",
        "--readers",
        "0",
        "--device",
        "cpu",
        "-q",
    ]
    result = invoke(["repair", "s3://caches/both", *words, *teacher])
    assert (result.exit_code, "2 objects of s3://caches/both: written again" in result.stdout) == (0, True)
    assert server.objects("both") == objects
