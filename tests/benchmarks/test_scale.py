"""The benchmark of scale, at a tiny size; its caches and shards are real."""

from pathlib import Path

import numpy as np
import pytest

from kdcache.data.index import index_shard
from kdcache.data.loader import distill_loader
from kdcache.store import open_cache
from kdcache.store.verify import verify
from tests.benchmarks import scale_reader, scale_tables
from tests.benchmarks.scale_cache import Outputs, make_cache, shard_sizes


@pytest.fixture(scope="module")
def outputs() -> Outputs:
    rng = np.random.default_rng(0)
    logits_NC = 2 * rng.standard_normal((6, 1000)).astype(np.float32)
    return Outputs(logits_NC, rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize("repeat_samples", [False, True])
def test_a_made_cache_is_a_whole_one_that_loaders_join_with_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: Outputs, repeat_samples: bool
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tests.benchmarks.scale_cache.ROWS_PER_SHARD", 20)
    cache, shards = make_cache(
        tmp_path / "made", 91, num_views=2, outputs=outputs, pool_rows=64, repeat_samples=repeat_samples
    )
    assert shard_sizes(91) == [19, 18, 18, 18, 18]
    report = verify(cache)
    assert (report.units, report.total_units, report.unknown) == (15, 15, ())
    keys = {key for block in range(5) for key in open_cache(cache).samples(block).keys}
    assert len(keys) == (19 + 2 * 18 if repeat_samples else 91)

    loader = distill_loader(shards, cache=cache, batch_size=13, check_views=1)
    assert sum(batch.num_checked for batch in loader.epoch(0)) == 91

    kept = {path.name: path.read_bytes() for path in (tmp_path / "home/indexes").iterdir()}
    for name in kept:
        (tmp_path / "home/indexes" / name).unlink()
    for shard in shards:
        index_shard(shard)
    assert {path.name: path.read_bytes() for path in (tmp_path / "home/indexes").iterdir()} == kept

    assert scale_reader.opened(str(cache))["num_records"] == 15
    assert scale_reader.sequential(str(cache), 1)["views"] == 91
    assert scale_reader.first_batch(str(cache), shards)["ready"] > 0
    row, costs = scale_tables.bytes_by_part(cache, "here")
    assert costs.view > 4
    assert round(row.median * 182) == sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())


def test_larger_class_spaces_and_more_classes_take_more_bytes(outputs: Outputs) -> None:
    sizes = [
        scale_tables._target_bytes(outputs, num_classes=classes, kept=kept)
        for classes, kept in ((1000, 10), (1000, 50), (21_841, 50))
    ]
    assert sizes == sorted(sizes)
