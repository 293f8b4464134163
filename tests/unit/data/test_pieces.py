"""Pieces of shards on a disk that processes share."""

import gc
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from kdcache.data import pieces as module
from kdcache.data.pieces import Pieces, pieces_of_this_run
from kdcache.errors import ConfigError

PIECE = 1 << 10


@dataclass(frozen=True)
class Counting:
    """A source whose pieces are made up; every reading leaves a line in a file, whichever process does it."""

    log: Path
    seconds: float = 0.0

    def piece(self, number: int) -> bytes:
        with self.log.open("a") as file:
            file.write(f"{number}\n")
        time.sleep(self.seconds)
        return bytes([number]) * PIECE

    def piece_name(self, number: int) -> str:
        return f"name-{number}"

    @property
    def readings(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []


@pytest.fixture
def source(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "readings")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pieces").mkdir()
    return tmp_path / "pieces"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files of a process that has no pieces yet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_all", type(module._all)())
    return tmp_path


def wait_for_file(file: Path) -> None:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_piece_is_read_once_and_then_found_on_the_disk(source: Counting, folder: Path) -> None:
    pieces = Pieces(folder, 1 << 20)
    for number in (*range(6), *range(6)):
        assert pieces.part(source, number, 3, 7) == bytes([number]) * 4
    assert source.readings == list(range(6))
    assert sorted(path.name for path in folder.iterdir()) == [f"name-{number}" for number in range(6)]


def test_what_was_asked_for_ahead_is_there(source: Counting, folder: Path) -> None:
    pieces = Pieces(folder, 1 << 20)
    for later in (False, True, False):
        for number in range(4):
            pieces.ahead(source, number + 4 * later, later=later)
    for number in range(8):
        wait_for_file(folder / f"name-{number}")
    assert [pieces.part(source, number, 0, 1)[0] for number in range(8)] == list(range(8))
    assert sorted(source.readings) == list(range(8))


def test_what_was_used_longest_ago_gives_way(source: Counting, folder: Path) -> None:
    pieces = Pieces(folder, 4 * PIECE)
    for number in (0, 1, 2, 3, 0, 4, 0, 5):
        pieces.part(source, number, 0, 1)
        time.sleep(0.01)  # times of files are coarser than the clock
    assert sorted(path.name for path in folder.iterdir()) == [f"name-{number}" for number in (0, 3, 4, 5)]


def test_without_space_the_last_pieces_are_in_memory(source: Counting) -> None:
    pieces = Pieces(None, 1 << 20)
    assert pieces.limit == 0
    for number in (0, 0, 1, 1, 0):
        assert pieces.part(source, number, 0, 2) == bytes([number]) * 2
    assert source.readings == [0, 1]


def test_a_disk_that_is_full_costs_time_and_nothing_else(
    source: Counting, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pieces = Pieces(folder, 1 << 20)
    folder.rmdir()
    for number in range(9):
        assert pieces.part(source, number, 0, 1) == bytes([number])
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"cannot keep pieces of shards in {folder}"
    ]


def test_processes_read_a_piece_once_between_them(tmp_path: Path, folder: Path) -> None:
    source, pieces = Counting(tmp_path / "readings", seconds=0.2), Pieces(folder, 1 << 20)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if pieces.part(source, 1, 0, 9) == bytes([1]) * 9 else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert source.readings == [1]


def test_processes_whose_threads_wait_for_each_other_read_a_piece_once(tmp_path: Path, folder: Path) -> None:
    source, pieces = Counting(tmp_path / "readings", seconds=0.5), Pieces(folder, 1 << 20)
    children = []
    for first, second in ((1, 2), (2, 1)):
        child = os.fork()
        if child == 0:
            pieces.ahead(source, first)
            time.sleep(0.2)
            found = [pieces.part(source, number, 0, 1) for number in (second, first)]
            os._exit(0 if found == [bytes([second]), bytes([first])] else 1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert sorted(source.readings) == [1, 2]


def test_a_copy_uses_the_same_folder(temporary: Path, source: Counting) -> None:
    pieces = pieces_of_this_run()
    assert pieces is pieces_of_this_run()
    assert pickle.loads(pickle.dumps(pieces)) is pieces  # noqa: S301
    pieces.part(source, 1, 0, 1)
    wire = pickle.dumps(pieces)
    module._all.clear()  # as in a process that was not forked
    assert pickle.loads(wire).part(source, 1, 0, 1) == b"\x01"  # noqa: S301
    assert source.readings == [1]


def test_the_folder_goes_with_the_last_shard(temporary: Path) -> None:
    pieces = pieces_of_this_run()
    assert len(list(temporary.glob("kdcache-shards-*"))) == 1
    child = os.fork()
    if child == 0:
        del pieces
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert list(temporary.glob("kdcache-shards-*"))
    del pieces
    gc.collect()
    assert not list(temporary.glob("kdcache-shards-*"))


def test_what_a_killed_run_left_is_removed_and_what_another_run_uses_stays(temporary: Path) -> None:
    child = os.fork()
    if child == 0:
        kept = pieces_of_this_run()
        os._exit(0 if kept.limit else 1)  # without a chance to clean up
    os.waitpid(child, 0)
    (left,) = temporary.glob("kdcache-shards-*")
    os.utime(left / ".owner", (0, 0))
    first = pieces_of_this_run()
    assert not left.exists()
    (used,) = temporary.glob("kdcache-shards-*")
    os.utime(used / ".owner", (0, 0))
    module._all.clear()
    second = pieces_of_this_run()
    assert len(list(temporary.glob("kdcache-shards-*"))) == 2
    assert first is not second


@pytest.mark.parametrize(("text", "limit"), [("2", 2_000_000_000), ("0", 0), ("0.001", 0)])
def test_the_space_can_be_set(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, text: str, limit: int
) -> None:
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", text)
    assert pieces_of_this_run().limit == limit


def test_by_default_half_of_what_is_free_is_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda top: type("", (), {"free": 40 << 30}))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert pieces_of_this_run().limit == 5 << 30


@pytest.mark.parametrize("text", ["all", "-1", "inf"])
def test_a_space_that_is_no_number_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("KDCACHE_SHARD_SPACE", text)
    with pytest.raises(ConfigError, match=r"KDCACHE_SHARD_SPACE is '.*', expected a number of gigabytes"):
        pieces_of_this_run()
