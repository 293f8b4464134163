"""The listing of the samples that both stages skip."""

from pathlib import Path

from kdcache.report.bad_samples import BadSample, bad_samples
from kdcache.store.reader import open_cache
from kdcache.store.writer import CacheWriter
from tests.support.stores import fill_block, make_manifest, make_store


def test_bad_samples_are_listed_in_shard_order(tmp_path: Path) -> None:
    assert list(bad_samples(open_cache(make_store(tmp_path / "c")))) == [
        BadSample("train-000.tar", "s0-0004", "undecodable"),
        BadSample("train-000.tar", "s0-0009", "undecodable"),
        BadSample("train-001.tar", "s1-0004", "undecodable"),
    ]


def test_blocks_that_are_not_there_yet_are_left_out(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    fill_block(writer, writer.layout.blocks[0])
    assert [sample.key for sample in bad_samples(open_cache(tmp_path / "c"))] == ["s0-0004"]
