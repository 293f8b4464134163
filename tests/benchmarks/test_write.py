"""The benchmark of writing runs, on caches that hold what they are given."""

from pathlib import Path

import numpy as np

from kdcache.store.reader import open_cache
from tests.benchmarks import write
from tests.benchmarks.cuts import Cuts, made_up_logits
from tests.benchmarks.units import TEACHER, cache_manifest, key_of, outcomes_of, write_cache


def test_the_benchmark_of_writing_still_runs() -> None:
    found = write.measure(made_up_logits(8), repeats=1, num_views=256, rows_of_blocks=(64, 128))
    assert all(row.median > 0.0 for row in found if row.unit == "x")
    assert len({row.what for row in found}) == len(found)


def test_what_it_writes_is_a_whole_cache_of_the_given_views(tmp_path: Path) -> None:
    cuts = Cuts.like(made_up_logits(8), 256, 5)
    manifest = cache_manifest(cuts, num_seeds=2, rows_per_block=64)
    write_cache(tmp_path, manifest, outcomes_of(cuts, manifest, batch_size=16))
    cache = open_cache(tmp_path)
    assert cache.samples(1).keys == tuple(key_of(sample) for sample in range(64, 128))
    np.testing.assert_array_equal(
        cache.targets(TEACHER, 1, 1).class_ids_NK, cuts.ids_NK.reshape(128, 2, 5)[64:, 1]
    )
