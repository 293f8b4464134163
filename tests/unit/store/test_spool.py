import gc
import os
import pickle
from pathlib import Path

import pytest

from kdcache.store.spool import Spool


def _folder(spool: Spool) -> Path:
    assert spool._folder is not None
    return spool._folder


def test_what_is_put_is_there_until_it_is_dropped() -> None:
    spool = Spool()
    assert spool.get("a/b") is None
    spool.put("a/b", b"1")
    spool.put("a/b", b"22")
    assert spool.get("a/b") == b"22"
    spool.drop("a/b")
    spool.drop("a/b")
    assert spool.get("a/b") is None
    assert list(_folder(spool).iterdir()) == []


def test_a_pickled_copy_shares_the_files_and_leaves_them(tmp_path: Path) -> None:
    spool = Spool()
    copy = pickle.loads(pickle.dumps(spool))  # noqa: S301
    copy.put("a", b"1")
    del copy
    gc.collect()
    assert spool.get("a") == b"1"


def test_the_folder_goes_with_its_maker_and_not_with_a_fork() -> None:
    spool = Spool()
    spool.put("a", b"1")
    child = os.fork()
    if child == 0:
        del spool
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert spool.get("a") == b"1"
    folder = _folder(spool)
    del spool
    gc.collect()
    assert not folder.exists()


def test_without_a_folder_nothing_is_kept_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcache.store.spool.tempfile.mkdtemp", _refuse)
    spool = Spool()
    spool.put("a", b"1")
    spool.drop("a")
    assert spool.get("a") is None


def _refuse(prefix: str) -> str:
    raise OSError(30, "Read-only file system")


def test_a_folder_that_is_gone_is_no_error() -> None:
    spool = Spool()
    _folder(spool).rmdir()
    spool.put("a", b"1")
    assert spool.get("a") is None
