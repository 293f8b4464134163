"""Nothing in a cache's folder leads out of it: not for reading, not for writing, not for removing."""

import os
import pickle
from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.store.local_files import Folder, open_plain, plain_size
from kdcache.store.objects import LocalObjects


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "a").write_bytes(b"mine")
    return folder


@pytest.fixture
def objects(tmp_path: Path, outside: Path) -> LocalObjects:
    """Return a cache in which ``folder`` is a link, and so is ``x/file``."""
    root = tmp_path / "cache"
    (root / "x").mkdir(parents=True)
    (root / "folder").symlink_to(outside)
    (root / "x/file").symlink_to(outside / "a")
    return LocalObjects(root)


@pytest.mark.parametrize("path", ["folder/a", "x/file"])
def test_a_link_is_not_read_through(objects: LocalObjects, path: str) -> None:
    for read in (objects.get, objects.size, lambda path: objects.get_range(path, 0, 4)):
        with pytest.raises(StoreError, match="is a link; a cache consists of plain files"):
            read(path)


def test_a_link_is_not_written_or_removed_through(objects: LocalObjects, outside: Path) -> None:
    for change in (
        lambda: objects.put_new("folder/b", b"theirs"),
        lambda: objects.replace("folder/a", b"theirs"),
        lambda: objects.swap("folder/a", b"mine", b"theirs"),
        lambda: objects.delete("folder/a"),
    ):
        with pytest.raises(StoreError, match="is a link"):
            change()
    assert {file.name: file.read_bytes() for file in outside.iterdir()} == {"a": b"mine"}


def test_a_file_that_is_a_link_is_replaced_not_followed(objects: LocalObjects, outside: Path) -> None:
    objects.replace("x/file", b"theirs")
    assert (outside / "a").read_bytes() == b"mine"
    assert objects.get("x/file") == b"theirs"


@pytest.mark.parametrize("prefix", ["", "x", "folder", "folder/"])
def test_a_listing_stops_at_a_link(objects: LocalObjects, prefix: str) -> None:
    with pytest.raises(StoreError, match="is a link"):
        list(objects.list(prefix))


@pytest.mark.parametrize("path", ["../outside/a", "x/../../outside/a", "x/..", "x//file", "/etc/passwd"])
def test_names_that_lead_out_are_refused(objects: LocalObjects, path: str) -> None:
    for use in (objects.get, objects.size, objects.delete, lambda path: objects.put_new(path, b"")):
        with pytest.raises(StoreError, match=r"cannot name an object in|is not a folder inside"):
            use(path)


def test_the_folder_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "disk")
    objects = LocalObjects(tmp_path / "here")
    objects.put_new("a/b", b"1")
    assert (objects.get("a/b"), [path for path, *_ in objects.list("")]) == (b"1", ["a/b"])


def test_neither_pipes_nor_devices_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero")):
        for look in (open_plain, plain_size):
            with pytest.raises(StoreError, match="is neither a file nor a folder"):
                look(str(file))


def test_what_is_known_of_a_folder_stays_in_the_process(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    fresh = pickle.dumps(folder)
    (tmp_path / "a").mkdir()
    assert folder.inside("a/b") == f"{tmp_path}/a/b"
    assert pickle.dumps(folder) == fresh
