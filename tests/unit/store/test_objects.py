"""Puts are whole, durable and never over an existing object."""

import multiprocessing
import pickle
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.store.objects import LocalObjects, open_objects


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "cache")


def test_what_is_put_can_be_read_whole_and_in_ranges(objects: LocalObjects) -> None:
    assert objects.put_new("a/b/c", b"0123456789")
    assert objects.get("a/b/c") == b"0123456789"
    assert objects.get_range("a/b/c", 3, 4) == b"3456"
    assert objects.get_range("a/b/c", 8, 100) == b"89"
    assert objects.size("a/b/c") == 10


def test_a_second_put_changes_nothing(objects: LocalObjects) -> None:
    assert objects.put_new("a", b"first")
    assert not objects.put_new("a", b"second")
    assert objects.get("a") == b"first"


def test_replace_puts_over_an_existing_object(objects: LocalObjects) -> None:
    objects.put_new("a", b"first")
    objects.replace("a", b"second")
    assert objects.get("a") == b"second"


def test_puts_leave_no_other_files(objects: LocalObjects) -> None:
    objects.put_new("a", b"1")
    objects.put_new("a", b"2")
    objects.replace("a", b"3")
    assert [path.name for path in objects.root.rglob("*")] == ["a"]


def test_list_names_objects_under_a_folder_but_no_temporary_files(objects: LocalObjects) -> None:
    objects.put_new("x/b", b"12")
    objects.put_new("x/a/z", b"1")
    objects.put_new("y", b"")
    (objects.root / "x" / ".tmp-0123").write_bytes(b"left by a killed writer")
    assert sorted((path, size) for path, size, _ in objects.list("x")) == [("x/a/z", 1), ("x/b", 2)]
    assert len(list(objects.list(""))) == 3
    assert list(objects.list("none")) == []


def test_a_missing_object_is_a_file_not_found(objects: LocalObjects) -> None:
    objects.put_new("a/b", b"")
    for path in ("c", "a/b/c", "a/c"):
        with pytest.raises(FileNotFoundError):
            objects.size(path)
    for path in ("c", "a", "a/b/c"):
        with pytest.raises(FileNotFoundError):
            objects.get(path)
    with pytest.raises(FileNotFoundError):
        objects.get_range("c", 0, 1)


def test_the_folder_may_be_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert LocalObjects(Path()).put_new("a/b", b"1")
    assert LocalObjects(Path("new/er")).put_new("c", b"2")
    assert (tmp_path / "a" / "b").read_bytes() == b"1"
    assert (tmp_path / "new" / "er" / "c").read_bytes() == b"2"


def test_a_folder_that_is_gone_is_made_again(objects: LocalObjects) -> None:
    objects.put_new("a/b", b"1")
    objects.delete("a/b")
    (objects.root / "a").rmdir()
    assert objects.put_new("a/b", b"2")


def test_delete_removes_an_object(objects: LocalObjects) -> None:
    objects.put_new("a", b"")
    objects.delete("a")
    with pytest.raises(FileNotFoundError):
        objects.delete("a")


def _race(root: str, number: int, start: "multiprocessing.synchronize.Barrier") -> None:
    objects = LocalObjects(Path(root))
    start.wait()
    wins = sum(objects.put_new(f"o/{i}", b"%d" % number * 1000) for i in range(20))
    objects.put_new(f"wins/{number}", b"%d" % wins)


def test_of_racing_writers_exactly_one_wins_each_object(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    workers = [context.Process(target=_race, args=(str(tmp_path), n, start)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    objects = LocalObjects(tmp_path)
    assert sum(int(objects.get(f"wins/{n}")) for n in range(3)) == 20
    assert all(len(set(objects.get(f"o/{i}"))) == 1 for i in range(20))


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot write .*file/a.*what is committed already is safe"):
        LocalObjects(tmp_path / "file").put_new("a", b"")


def test_a_full_disk_is_explained_and_leaves_nothing(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdcache.store.objects.os.fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device.*free space"):
        objects.put_new("a", b"data")
    assert not [path for path in objects.root.rglob("*") if path.is_file()]


def test_a_swap_needs_to_know_what_is_there(objects: LocalObjects) -> None:
    assert objects.swap("a", None, b"1")
    assert not objects.swap("a", None, b"2")
    assert not objects.swap("a", b"0", b"2")
    assert objects.swap("a", b"1", b"2")
    assert not objects.swap("b", b"1", b"2")
    assert objects.get("a") == b"2"


def _count_up(root: str, start: "multiprocessing.synchronize.Barrier") -> None:
    objects = LocalObjects(Path(root))
    start.wait()
    for _ in range(20):
        while not objects.swap("n", there := objects.get("n"), b"%d" % (int(there) + 1)):
            pass


def test_no_swap_is_lost_between_processes(objects: LocalObjects) -> None:
    objects.put_new("n", b"0")
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(3)
    workers = [context.Process(target=_count_up, args=(str(objects.root), start)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert objects.get("n") == b"60"


def test_what_killed_writers_left_is_listed_apart(objects: LocalObjects) -> None:
    objects.put_new("x/a", b"1")
    (objects.root / "x" / ".tmp-0123").write_bytes(b"12")
    (objects.root / "x" / "0.123.partial").write_bytes(b"123")
    assert {entry.path: entry.size for entry in objects.leftovers()} == {
        "x/.tmp-0123": 2,
        "x/0.123.partial": 3,
    }
    assert [entry.path for entry in objects.list("")] == ["x/a"]


def test_objects_survive_a_pickle(objects: LocalObjects) -> None:
    objects.put_new("a", b"1")
    copy = pickle.loads(pickle.dumps(objects))  # noqa: S301
    assert copy.get("a") == b"1"


def test_a_file_url_and_a_path_name_the_same_objects(tmp_path: Path) -> None:
    open_objects(tmp_path / "my cache").put_new("a", b"1")
    assert open_objects(f"file://{tmp_path}/my%20cache").get("a") == b"1"
    assert open_objects(str(tmp_path / "my cache")).get("a") == b"1"


@pytest.mark.parametrize("url", ["ftp://host/cache", "webdav://host/cache", "file://host/cache"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"knows local folders"):
        open_objects(url)
