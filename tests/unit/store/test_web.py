"""A cache on a web server is read, listed by its SHA256SUMS, and never written."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, StoreError
from kdcache.store.objects import ObjectStore, open_objects
from kdcache.store.stored import UNKNOWN_SIZE
from kdcache.store.web import WebObjects, demand_writable
from tests.support.odd_server import python_server

SUM = "0" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "my caches" / "c.zarr"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").write_bytes(b"0123456789")
    return folder


@pytest.fixture
def objects(root: Path, tmp_path: Path) -> Iterator[ObjectStore]:
    with python_server(tmp_path) as address:
        yield open_objects(f"{address}/my%20caches/c.zarr/")


def test_files_are_read_whole_and_in_ranges(objects: ObjectStore) -> None:
    assert isinstance(objects, WebObjects)
    assert objects.get("a/b") == b"0123456789"
    assert objects.get_range("a/b", 3, 4) == b"3456"
    assert objects.get_range("a/b", 8, 100) == b"89"
    assert objects.size("a/b") == 10
    with pytest.raises(FileNotFoundError):
        objects.get("none")
    copy = pickle.loads(pickle.dumps(objects))  # noqa: S301
    assert (copy.get("a/b"), copy.url) == (b"0123456789", objects.url)


def test_a_listing_is_what_the_sums_name(objects: ObjectStore, root: Path) -> None:
    names = ("x/b", "x/a/z", "xy/c")
    text = "".join(f"{SUM}  {name}\n" for name in names)
    (root / "SHA256SUMS").write_text(f"{text}{SUM} *y\nand a line that says nothing\n")
    assert [entry.path for entry in objects.list("")] == ["SHA256SUMS", "x/a/z", "x/b", "xy/c", "y"]
    assert [entry.path for entry in objects.list("x/")] == ["x/a/z", "x/b"]
    assert {entry.size for entry in objects.list("x")} == {UNKNOWN_SIZE}
    assert list(objects.list("none")) == list(objects.leftovers()) == []


def test_a_listing_without_sums_says_how_to_make_them(objects: ObjectStore) -> None:
    with pytest.raises(StoreError, match=r"has no SHA256SUMS.* must have been made by kdcache push"):
        list(objects.list(""))


def test_sums_that_are_too_large_are_not_read(objects: ObjectStore, root: Path) -> None:
    with (root / "SHA256SUMS").open("wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(StoreError, match="has 67,108,865 bytes, but one of a cache has at most"):
        list(objects.list(""))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "a//b", "a?b", "https://host/a"])
def test_sums_that_lead_elsewhere_are_refused(objects: ObjectStore, root: Path, name: str) -> None:
    (root / "SHA256SUMS").write_text(f"{SUM}  {name}\n")
    with pytest.raises(StoreError, match=r"SHA256SUMS in .* is not one of a cache: .* cannot name an object"):
        list(objects.list(""))


@pytest.mark.parametrize(
    "write",
    [
        lambda objects: objects.put_new("a", b""),
        lambda objects: objects.replace("a", b""),
        lambda objects: objects.swap("a", None, b""),
        lambda objects: objects.delete("a/b"),
        lambda objects: objects.settle(),
        demand_writable,
    ],
)
def test_nothing_is_written(objects: ObjectStore, root: Path, write: Callable[[ObjectStore], None]) -> None:
    with pytest.raises(ConfigError, match=r"c\.zarr\S* cannot be written: over http a cache is only read"):
        write(objects)
    assert [file.name for file in root.rglob("*")] == ["a", "b"]


def test_other_places_may_be_written(tmp_path: Path) -> None:
    demand_writable(open_objects(tmp_path))


@pytest.mark.parametrize("url", ["https://host/c?token=hunter2", "http://host/c#hunter2"])
def test_an_address_that_names_cannot_be_added_to_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="give the folder's address alone") as caught:
        open_objects(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "https:///c", "http://:80/c"])
def test_an_address_needs_a_host(url: str) -> None:
    with pytest.raises(ConfigError, match="names no host"):
        open_objects(url)


def test_a_user_name_in_an_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="with a user name or password in it") as caught:
        open_objects("https://ann:hunter2@host/c")
    assert "hunter2" not in str(caught.value)
