"""A disk that is full, read-only or dying ends a run with one clear error; once it is well, the run goes on."""

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from kdcache.data import index
from kdcache.data.index import index_shard
from kdcache.data.tar import Member, scan
from kdcache.errors import ShardError
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.support.full_disk import small_disk
from tests.support.precompute_runs import invoke, start, words
from tests.support.processes import Process
from tests.support.shards import write_shard, write_shards
from tests.support.sick_disk import SickDisk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc and tmpfs")

CALLS = ("create", "fsync", "link", "mkdir", "open", "pread", "replace", "scandir", "stat", "write")


@dataclass(frozen=True)
class Job:
    """A small run: three blocks of two groups, six units of one teacher."""

    shards: list[str]
    content_id: str

    def refused(self, cache: Path, *more: str, sick: SickDisk | None = None) -> str:
        """Run, and return the one error that ends it; what is committed is whole, and nothing else is left."""
        result = invoke(words(cache, self.shards, "-q", *more))
        if sick is not None:
            sick.heal()
        assert result.exit_code == 3, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("error KD")
        assert result.stderr.count("\n") == 1
        self.is_whole(cache)
        return result.stderr

    def is_whole(self, cache: Path) -> None:
        """Check what a run that failed left."""
        assert not list(cache.rglob(".tmp-*"))
        if (cache / "zarr.json").exists():
            verify(cache)
        else:
            assert not (cache / "commits").exists()

    def goes_on(self, cache: Path) -> None:
        """Run to the end, which is that of a run that nothing disturbed."""
        result = invoke(words(cache, self.shards, "-q"))
        assert result.exit_code == 0, result.output
        assert open_cache(cache).content_id() == self.content_id
        verify(cache)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("undisturbed")
    shards = write_shards(folder / "shards", [12, 5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        assert invoke(words(folder / "c.zarr", shards, "-q")).exit_code == 0
    return Job(shards, open_cache(folder / "c.zarr").content_id())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SickDisk:
    (tmp_path / "disk").mkdir()
    return SickDisk(tmp_path / "disk", monkeypatch)


@pytest.mark.parametrize(("option", "step"), [("size={}k", 12), ("nr_inodes={}", 12)])
def test_a_disk_that_grows_step_by_step_holds_more_each_time(
    option: str, step: int, job: Job, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", option.format(step)) as disk:
        cache, room = disk.folder / "c.zarr", step
        committed: set[Path] = set()
        while invoke(words(cache, job.shards, "-q")).exit_code != 0:
            message = job.refused(cache)
            assert f"cannot write {cache}" in message
            assert "No space left on device; what is committed already is safe: free space" in message
            now = set(cache.glob("commits/*/*.json"))
            assert committed <= now
            committed, room = now, room + step
            assert disk.remount(option.format(room))
        assert len(committed) > 3
        disk.remount(option.format(room + step))  # the index is written anew at the end of each run
        job.goes_on(cache)


@pytest.mark.parametrize("committed", [0, 3])
def test_a_disk_that_is_read_only_is_named(
    committed: int, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "size=10m") as disk:
        cache = disk.folder / "c.zarr"
        if committed:
            with monkeypatch.context() as patch:
                SickDisk(disk.folder, patch).fail("link", errno.EIO, at="commits/tiny_cnn", well=committed)
                job.refused(cache)
        assert disk.remount("ro")
        message = job.refused(cache)
        assert f"cannot write {cache}" in message
        assert "Read-only file system; what is committed already is safe" in message
        assert disk.remount("rw")
        assert len(list(cache.glob("commits/tiny_cnn/*"))) == committed
        job.goes_on(cache)


@pytest.mark.slow
def test_a_disk_that_turns_read_only_under_a_run_with_workers_ends_it(job: Job, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=10m") as disk:
        cache = disk.folder / "c.zarr"
        more = "-q --teacher tests.support.teachers:slow_cnn --views 48 --workers 2 --readers 1"
        process = start(words(cache, job.shards, *more.split()))
        _wait_for(lambda: any(cache.glob("commits/slow_cnn/*.json")), process)
        _wait_for(lambda: disk.remount("ro"), process)
        _, stderr = process.communicate(timeout=200)
        assert process.returncode == 3, stderr
        assert "Read-only file system; what is committed already is safe" in stderr
        assert "Traceback" not in stderr
        verify(cache)


def _wait_for(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_limit_on_the_size_of_files_is_named(job: Job, tmp_path: Path) -> None:
    cache = tmp_path / "c.zarr"
    process = start(words(cache, job.shards, "-q"), PYTHONDONTWRITEBYTECODE="1")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 3, stderr
    assert "zarr.json: File too large; what is committed already is safe" in stderr
    assert "Traceback" not in stderr
    job.is_whole(cache)
    job.goes_on(cache)


FAULTS = [
    # while the root is made
    ("mkdir", errno.EACCES, "c.zarr"),
    ("fsync", errno.EIO, "c.zarr"),
    ("create", errno.EDQUOT, "c.zarr/.tmp-"),
    ("replace", errno.EIO, "c.zarr/zarr.json"),
    # in the writer thread, in the middle of the run
    ("write", errno.EDQUOT, "samples/key/c/.tmp-"),
    ("write", errno.ENOSPC, "commits/views"),
    ("fsync", errno.EIO, "teachers/tiny_cnn/targets/c/1/0"),
    ("link", errno.EIO, "teachers/tiny_cnn/targets/c/1/0/1"),
    ("link", errno.EPERM, "commits/tiny_cnn/1-0.json"),
    ("create", errno.EROFS, "commits/tiny_cnn"),
    # while the index is written
    ("create", errno.EROFS, "commits/.tmp-"),
    ("write", errno.ENOSPC, "commits/.tmp-"),
    ("replace", errno.EIO, "commits/index.json"),
]


@pytest.mark.parametrize(("call", "error", "at"), FAULTS)
def test_a_call_that_fails_ends_the_run_with_its_path_its_reason_and_a_remedy(  # noqa: PLR0917
    call: str, error: int, at: str, job: Job, sick: SickDisk, tmp_path: Path
) -> None:
    cache = tmp_path / "disk" / "c.zarr"
    sick.fail(call, error, at=at)
    message = job.refused(cache, sick=sick)
    assert f"error KD500: cannot write {cache}" in message
    assert f": {os.strerror(error)}; what is committed already is safe: free space" in message
    job.goes_on(cache)


def test_any_call_may_fail(job: Job, sick: SickDisk, tmp_path: Path) -> None:
    """Also reading: what was written before, and what other writers did."""
    invoke(words(tmp_path / "disk" / "count.zarr", job.shards, "-q"))
    num_calls, rng = dict(sick.calls), Random(20240611)
    for number in range(20):
        call = CALLS[number % len(CALLS)]
        sick.fail(call, rng.choice((errno.EIO, errno.EACCES)), well=rng.randrange(num_calls[call] * 3 // 4))
        cache = tmp_path / "disk" / f"{number}.zarr"
        message = job.refused(cache, sick=sick)
        assert "error KD500: cannot " in message
        assert f" {cache}" in message
        job.goes_on(cache)


def test_a_temporary_file_that_cannot_be_removed_is_no_part_of_the_cache(
    job: Job, sick: SickDisk, tmp_path: Path
) -> None:
    cache = tmp_path / "disk" / "c.zarr"
    sick.fail("unlink", errno.EIO, well=20)
    result = invoke(words(cache, job.shards, "-q"))
    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert 1 <= len(list(cache.rglob(".tmp-*"))) <= 2  # the writer may have been at the next object already
    sick.heal()
    job.goes_on(cache)


def test_a_home_that_is_full_or_read_only_costs_only_time(
    job: Job, tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(home, "nr_inodes=1") as disk:
        job.goes_on(tmp_path / "full.zarr")
        assert "(No space left on device), so every run scans the shards anew" in caplog.text
        index._warn_of.cache_clear()
        assert disk.remount("nr_inodes=100,ro")
        job.goes_on(tmp_path / "read-only.zarr")
        assert "(Read-only file system), so every run scans the shards anew" in caplog.text


@pytest.mark.parametrize("call", ["create", "write", "replace", "read"])
def test_a_home_that_fails_costs_only_time(
    call: str, job: Job, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_shard(job.shards[0])
    with monkeypatch.context() as patch:
        SickDisk(home, patch).fail(call, errno.EIO)
        job.goes_on(tmp_path / "c.zarr")
    assert not list(home.rglob(".tmp-*"))


@pytest.mark.parametrize("readers", [0, 2])
def test_a_shard_that_cannot_be_read_in_the_middle_of_a_run_is_named(
    readers: int, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, shard = tmp_path / "c.zarr", job.shards[0]
    for url in job.shards:
        index_shard(url)
    with monkeypatch.context() as patch:
        SickDisk(Path(shard).parent, patch).fail("pread", errno.EIO, at="train-000.tar", well=8)
        message = job.refused(cache, "--readers", str(readers))
    assert "error KD200: cannot read " in message
    assert f" of the shard {shard}: Input/output error; check the disk" in message
    job.goes_on(cache)


def test_a_shard_that_cannot_be_read_while_it_is_indexed_is_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        SickDisk(Path(job.shards[0]).parent, patch).fail("pread", errno.EIO, at="train-001.tar", well=3)
        message = job.refused(tmp_path / "c.zarr")
    assert (
        f"error KD200: cannot read the shard {job.shards[1]}: Input/output error; check the path" in message
    )
    job.goes_on(tmp_path / "c.zarr")


def test_a_shard_that_gets_shorter_while_it_is_indexed_does_not_kill_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write_shard(tmp_path / "train-000.tar", range(40))

    def cut(data: object, *, where: str) -> Iterator[Member]:
        for number, member in enumerate(scan(data, where=where)):
            if number == 3:
                os.truncate(shard, 4096)
            yield member

    monkeypatch.setattr(index, "scan", cut)
    with pytest.raises(ShardError, match=r"train-000\.tar: broken at byte [\d,]+"):
        index_shard(str(shard))


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize(
    ("call", "at"),
    [("pread", "zarr.json"), ("stat", "zarr.json"), ("scandir", "commits"), ("open", "targets/c/0")],
)
def test_a_cache_that_cannot_be_read_is_not_taken_for_one_that_holds_less(  # noqa: PLR0917
    call: str, at: str, command: str, job: Job, sick: SickDisk, tmp_path: Path
) -> None:
    cache = tmp_path / "disk" / "c.zarr"
    job.goes_on(cache)
    sick.fail(call, errno.EIO, at=at)
    result = invoke([command, str(cache)])
    if (command, call) == ("info", "open"):  # it reads no targets
        assert result.exit_code == 0
        return
    assert result.exit_code == 3
    assert f"error KD500: cannot read {cache}" in result.stderr
    assert "Input/output error; check the disk and the permissions" in result.stderr
