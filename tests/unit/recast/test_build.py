"""Writing a cache out of others: where it may go, how it goes on, what stops it."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from kdcache.errors import InterruptedRunError, StoreError
from kdcache.recast import build, merge, prune
from kdcache.store import open_cache
from kdcache.store.commits import CommitRecord
from kdcache.store.objects import LocalObjects
from kdcache.store.verify import verify
from tests.support.stores import make_manifest, make_store, make_teacher


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    other = make_manifest(teachers={"vit": make_teacher(weights="vit")})
    return [make_store(folder / "a"), make_store(folder / "b", other)]


def test_a_cache_that_was_begun_is_continued(tmp_path: Path, parts: list[Path]) -> None:
    whole = merge(parts, tmp_path / "m", quiet=True)
    shutil.copytree(tmp_path / "m", tmp_path / "cut")
    for name in (
        "commits/vit/0-0.json",
        "commits/cnn/1-1.json",
        "teachers/cnn/targets/c/1/0/1",
        "commits/index.json",
    ):
        (tmp_path / "cut" / name).unlink()
    report = merge(parts, tmp_path / "cut", quiet=True)
    assert (report.content_id, report.units_before) == (whole.content_id, 19)
    assert verify(tmp_path / "cut").content_id == whole.content_id
    assert "19 of them there before" in report.summary()


def test_another_cache_is_never_written_to(tmp_path: Path, parts: list[Path]) -> None:
    there = make_store(tmp_path / "there")
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="holds another cache than this command makes"):
        merge(parts, there, quiet=True)
    with pytest.raises(StoreError, match="or one of another origin"):
        prune(make_store(tmp_path / "more", make_manifest(num_aug_seeds=6)), there, seeds="0-3", quiet=True)
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == before


def test_a_source_is_no_target(parts: list[Path]) -> None:
    with pytest.raises(StoreError, match="is one of the caches to read"):
        merge(parts, f"{parts[0].parent}/x/../a", dry_run=True, quiet=True)


def test_an_object_that_is_in_the_way_is_not_taken_for_ours(tmp_path: Path, parts: list[Path]) -> None:
    target = tmp_path / "m" / "teachers/vit/targets/c/0/0/0"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"something else")
    with pytest.raises(
        StoreError, match=r"targets/c/0/0/0 in .*m is there already and is not what belongs there"
    ):
        merge(parts, tmp_path / "m", quiet=True)


def test_a_record_that_is_in_the_way_is_not_taken_for_ours(tmp_path: Path, parts: list[Path]) -> None:
    merge(parts, tmp_path / "m", quiet=True)
    record = tmp_path / "m" / "commits/vit/0-0.json"
    other = (tmp_path / "m" / "commits/cnn/0-0.json").read_bytes()
    record.write_bytes(other)
    with pytest.raises(StoreError, match=r"vit/0-0.json in .*m is damaged: it is the record of cnn/0-0"):
        merge(parts, tmp_path / "m", quiet=True)


def test_a_signal_stops_between_units_and_leaves_a_cache(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_THREADS", 1)
    write = build._Writer.write

    def interrupted(self: build._Writer, work: build.UnitWork) -> CommitRecord:
        if work.unit.name == "cnn/1-0":
            os.kill(os.getpid(), signal.SIGTERM)
        return write(self, work)

    monkeypatch.setattr(build._Writer, "write", interrupted)
    with pytest.raises(
        InterruptedRunError, match=r"of 21 units are in .*m and stay; to continue: run the same"
    ):
        merge(parts, tmp_path / "m", quiet=True)
    assert 9 < verify(tmp_path / "m").units < 21
    monkeypatch.undo()
    merge(parts, tmp_path / "m", quiet=True)
    assert verify(tmp_path / "m").units == 21


def test_an_open_target_is_where_it_was_asked_for(tmp_path: Path) -> None:
    objects = build.open_target(tmp_path / "m", make_manifest(), [])
    assert isinstance(objects, LocalObjects)
    assert objects.url == str(tmp_path / "m")


def test_what_is_there_can_be_read_while_it_grows(tmp_path: Path, parts: list[Path]) -> None:
    merge(parts, tmp_path / "m", quiet=True)
    assert open_cache(tmp_path / "m").targets("vit", 0, 1).valid_N.any()
