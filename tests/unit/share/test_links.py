"""Files and folders only."""

import os
import shutil
from pathlib import Path

import pytest

from kdcache.errors import StoreError
from kdcache.share.links import refuse_links
from kdcache.store.objects import LocalObjects
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pristine") / "c.zarr")


@pytest.fixture
def cache(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "c.zarr"))


def test_a_plain_cache_passes(cache: Path, tmp_path: Path) -> None:
    refuse_links(LocalObjects(cache))
    refuse_links(LocalObjects(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["zarr.json", "samples/key/c/0", "commits/cnn", "SHA256SUMS"])
def test_a_link_is_refused_by_name(cache: Path, tmp_path: Path, name: str) -> None:
    path, target = cache / name, tmp_path / "elsewhere"
    if path.exists():
        path.rename(target)
    path.symlink_to(target)
    with pytest.raises(StoreError, match=f"{name}' is a link to '{target}'"):
        refuse_links(LocalObjects(cache))


def test_a_pipe_is_refused_before_it_is_opened(cache: Path) -> None:
    (cache / "commits/index.json").unlink()
    os.mkfifo(cache / "commits/index.json")
    with pytest.raises(StoreError, match="neither a file nor a folder"):
        refuse_links(LocalObjects(cache))


def test_the_address_itself_and_other_peoples_files_may_be_links(cache: Path, tmp_path: Path) -> None:
    (cache / "notes").symlink_to(tmp_path)
    (tmp_path / "alias").symlink_to(cache)
    refuse_links(LocalObjects(tmp_path / "alias"))
