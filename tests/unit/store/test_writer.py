"""Units are written whole, once, and the same way whoever writes them."""

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdcache.errors import CorruptChunkError, ManifestMismatchError, StoreError, ViewMismatchError
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import (
    fill_block,
    make_manifest,
    make_store,
    make_teacher,
    table_of,
    view_digests_of,
    write_targets_of,
)


@pytest.fixture
def writer(tmp_path: Path) -> CacheWriter:
    return CacheWriter.create_or_resume(tmp_path / "c", make_manifest())


def objects_of(path: Path) -> dict[str, bytes]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def test_committed_names_the_units_that_are_whole(writer: CacheWriter) -> None:
    assert writer.committed() == set()
    fill_block(writer, writer.layout.blocks[1], groups=[1])
    assert writer.committed() == {"samples/1", "views/1-1", "cnn/1-1"}


def test_a_record_says_what_was_written(writer: CacheWriter) -> None:
    record = writer.write_samples(0, table_of(writer.layout.blocks[0]), seconds=1.23456)
    assert (record.unit, record.rows, record.failures, record.seconds) == (
        "samples/0",
        7,
        {"undecodable": 1},
        1.235,
    )
    assert [entry.path for entry in record.objects] == [
        f"samples/{name}/c/0" for name in ("key", "label", "digest", "status")
    ]


def test_a_later_teacher_reads_samples_and_views_back(writer: CacheWriter) -> None:
    block = writer.layout.blocks[1]
    fill_block(writer, block)
    assert table_of(block).first_difference(writer.samples(1)) is None
    np.testing.assert_array_equal(writer.view_digests(1, 1), view_digests_of(writer, block, 1))


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c")
    before = objects_of(path)
    make_store(path)
    assert objects_of(path) == before


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    straight = make_store(tmp_path / "a")
    writer = CacheWriter.create_or_resume(tmp_path / "b", make_manifest())
    for block in reversed(writer.layout.blocks):
        fill_block(writer, block, groups=[1])
    for block in writer.layout.blocks:
        fill_block(writer, block, groups=[0])
    writer.finish()
    assert objects_of(tmp_path / "b") == objects_of(straight)


def test_a_run_killed_after_any_file_ends_in_the_same_store(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "whole")
    expected = objects_of(whole)
    data = [name for name in expected if "/c/" in name or name.startswith("commits/")]
    data.sort(key=lambda name: (whole / name).stat().st_mtime_ns)
    for killed_after in range(0, len(data), 3):
        path = Path(shutil.copytree(whole, tmp_path / f"killed-{killed_after}"))
        for name in data[killed_after:]:
            (path / name).unlink()
        make_store(path)
        assert objects_of(path) == expected


def _write_all(path: str, start: "multiprocessing.synchronize.Barrier") -> None:
    start.wait()
    make_store(Path(path))


def test_racing_writers_make_the_store_of_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [context.Process(target=_write_all, args=(str(tmp_path / "r"), start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert objects_of(tmp_path / "r") == objects_of(make_store(tmp_path / "one"))


def test_a_sample_that_changed_is_named(writer: CacheWriter) -> None:
    table = table_of(writer.layout.blocks[0])
    writer.write_samples(0, table, seconds=0)
    digests = table.digests.copy()
    digests[3] += 1
    with pytest.raises(
        ManifestMismatchError, match=r"shard 'train-000.tar' changed .*sample 's0-0003' has image digest"
    ):
        writer.write_samples(0, replace(table, digests=digests), seconds=0)


def test_a_view_that_differs_is_named(writer: CacheWriter) -> None:
    block = writer.layout.blocks[0]
    fill_block(writer, block)
    digests_GR = view_digests_of(writer, block, 1)
    digests_GR[1, 2] += 1
    thumbnails = np.zeros((2, 8, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(
        ViewMismatchError, match=r"sample 's0-0002' under aug_seed 3 renders to other pixels .*1 of 16 views"
    ):
        writer.write_views(0, 1, digests_GR, thumbnails, seconds=0)


def test_objects_left_by_a_killed_run_must_agree_too(writer: CacheWriter, tmp_path: Path) -> None:
    table = table_of(writer.layout.blocks[0])
    writer.write_samples(0, table, seconds=0)
    (tmp_path / "c" / "commits" / "samples" / "0.json").unlink()
    with pytest.raises(ManifestMismatchError, match="has label 1 against 0"):
        writer.write_samples(0, replace(table, labels=table.labels + 1), seconds=0)


def test_targets_left_by_a_killed_run_are_taken_as_they_are(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c")
    spec, position = open_cache(path).layout.targets["cnn"], (0, 0, 0)
    other = make_store(tmp_path / "o", make_manifest(teachers={"cnn": make_teacher(top_k=5)}))
    (path / "commits/cnn/0-0.json").unlink()
    target = path / spec.object_path(*position)
    target.write_bytes((other / spec.object_path(1, 0, 0)).read_bytes())
    writer = CacheWriter.create_or_resume(path, make_manifest())
    write_targets_of(writer, "cnn", writer.layout.blocks[0], 0)
    writer.finish()
    verify(path)


def test_damaged_targets_left_behind_are_refused(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c")
    (path / "commits/cnn/0-0.json").unlink()
    (path / "teachers/cnn/targets/c/0/0/0").write_bytes(b"torn")
    writer = CacheWriter.create_or_resume(path, make_manifest())
    with pytest.raises(CorruptChunkError, match=r"targets/c/0/0/0 .* is damaged.*delete"):
        write_targets_of(writer, "cnn", writer.layout.blocks[0], 0)


def test_views_come_after_samples_and_targets_after_views(writer: CacheWriter) -> None:
    block = writer.layout.blocks[0]
    with pytest.raises(StoreError, match=r"views/0-0 cannot be written before samples/0 is committed"):
        writer.write_views(
            0, 0, view_digests_of(writer, block, 0), np.zeros((2, 8, 8, 8, 3), "u1"), seconds=0
        )
    with pytest.raises(StoreError, match=r"cnn/0-0 cannot be written before views/0-0 is committed"):
        write_targets_of(writer, "cnn", block, 0)


def test_a_table_of_another_length_is_refused(writer: CacheWriter) -> None:
    with pytest.raises(ValueError, match="block 0 has 8 samples, not 2"):
        writer.write_samples(0, table_of(writer.layout.blocks[1]), seconds=0)


def test_planes_that_break_a_rule_are_not_written(writer: CacheWriter) -> None:
    fill_block(writer, writer.layout.blocks[0], groups=[])
    digests_GR = view_digests_of(writer, writer.layout.blocks[0], 0)
    writer.write_views(0, 0, digests_GR, np.zeros((2, 8, 8, 8, 3), "u1"), seconds=0)
    planes_GPR = np.zeros((2, 15, 8), dtype=np.uint16)
    with pytest.raises(CorruptChunkError, match="a class id is there twice"):
        writer.write_targets(
            "cnn", 0, 0, planes_GPR, labelled=0, correct=0, saturated=0, failures={}, seconds=0
        )
    assert "cnn/0-0" not in writer.committed()
