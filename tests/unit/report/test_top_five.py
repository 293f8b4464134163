"""The top-5 figure of a card is measured on cached views."""

from pathlib import Path

import pytest

from kdcache.report.top_five import top_five
from kdcache.store.manifest import Encoding
from kdcache.store.reader import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import fill_block, logits_of, make_manifest, make_store, make_teacher, table_of


def _expected(path: Path, teacher: str, blocks: list[int], seed: int) -> list[bool]:
    cache, hits = open_cache(path), []
    for block in (cache.blocks[index] for index in blocks):
        table = table_of(block)
        for key, label, is_ok in zip(table.keys, table.labels, table.ok_N, strict=True):
            if is_ok and label >= 0:
                hits.append(label in (-logits_of(teacher, key, seed, 20)).argsort()[:5])
    return hits


@pytest.mark.parametrize("encoding", ["gap8", "dense8", "float32"])
def test_labels_are_looked_for_in_the_first_five(tmp_path: Path, encoding: Encoding) -> None:
    path = make_store(tmp_path / "c", make_manifest(teachers={"cnn": make_teacher(encoding=encoding)}))
    hits, found = _expected(path, "cnn", [0, 1, 2], 0), top_five(open_cache(path), "cnn")
    assert found is not None
    assert (found.views, found.share) == (len(hits), sum(hits) / len(hits))


def test_a_few_blocks_of_a_large_cache_are_read(tmp_path: Path) -> None:
    path = make_store(tmp_path / "c")
    hits, found = _expected(path, "cnn", [0, 2], 0), top_five(open_cache(path), "cnn", max_views=16)
    assert found is not None
    assert (found.views, found.share) == (len(hits), sum(hits) / len(hits))


def test_the_first_seed_that_is_there_is_taken(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    fill_block(writer, writer.layout.blocks[1], groups=[1])
    hits, found = _expected(tmp_path / "c", "cnn", [1], 2), top_five(open_cache(tmp_path / "c"), "cnn")
    assert found is not None
    assert (found.views, found.share) == (len(hits), sum(hits) / len(hits))


@pytest.mark.parametrize(
    "changes", [{"encoding": "hard"}, {"top_k": 4}, {"num_classes": 4, "encoding": "dense8"}]
)
def test_fewer_than_five_classes_say_nothing(tmp_path: Path, changes: dict[str, str | int]) -> None:
    teacher = make_teacher(**({"num_classes": 20} | changes))  # type: ignore[arg-type]
    manifest = make_manifest(teachers={"cnn": teacher}, num_classes=20)
    CacheWriter.create_or_resume(tmp_path / "c", manifest)
    assert top_five(open_cache(tmp_path / "c"), "cnn") is None


def test_an_empty_cache_says_nothing(tmp_path: Path) -> None:
    CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    assert top_five(open_cache(tmp_path / "c"), "cnn") is None
