"""The benchmark of reading runs, and its references hold what they are given."""

from pathlib import Path

import numpy as np
import torch

from tests.benchmarks import fkd, memmaps, read, tinyvit
from tests.benchmarks.cuts import Cuts, made_up_logits

CUTS = Cuts.like(made_up_logits(8), 64, 5)
KEYS = [f"n{number}" for number in range(64)]


def test_the_benchmark_of_reading_still_runs() -> None:
    found = read.measure(made_up_logits(8), num_samples=256, repeats=2, rows_of_blocks=(64, 128))
    assert all(row.median > 0.0 for row in found)
    assert len({row.what for row in found}) == 2 * 7


def test_tinyvits_reader_returns_what_either_writer_wrote(tmp_path: Path) -> None:
    for write in (tinyvit.write_directly, tinyvit.write_through_queue):
        write(tmp_path, KEYS, CUTS.ids_NK, CUTS.probs_NK, sync=True)
        assert (tmp_path / "rank0-values.bin").stat().st_size == 64 * (4 + 4 * 5)
        with tinyvit.TinyViTReader(tmp_path, 5) as reader:
            for records in (reader.in_sequence, reader.at_random):
                for parse in (reader.parse, reader.parse_together):
                    seeds, ids_BK, probs_BK = parse(records(KEYS[::-1]))
                    assert seeds == list(range(64))[::-1]
                    np.testing.assert_array_equal(ids_BK, CUTS.ids_NK[::-1])
                    np.testing.assert_allclose(probs_BK, CUTS.probs_NK[::-1], rtol=1e-3, atol=1e-7)


def test_dense_targets_spread_what_is_left_over_all_other_classes() -> None:
    dense_BC = tinyvit.dense_targets(CUTS.ids_NK, CUTS.probs_NK, 1000)
    torch.testing.assert_close(dense_BC.sum(dim=1), torch.ones(64))
    assert dense_BC[0, CUTS.ids_NK[0, 0]] == CUTS.probs_NK[0, 0]


def test_fkds_files_return_the_first_crops_of_each_image(tmp_path: Path) -> None:
    fkd.write_images(tmp_path, CUTS.ids_NK.reshape(8, 8, 5), CUTS.probs_NK.reshape(8, 8, 5))
    ids_NK, probs_NK = fkd.read_images(tmp_path, range(8))
    some = (np.arange(64) % 8) < fkd.CROPS_OF_A_READ
    np.testing.assert_array_equal(ids_NK, CUTS.ids_NK[some])
    np.testing.assert_array_equal(probs_NK, CUTS.probs_NK[some])


def test_a_memory_map_holds_the_same_records_as_tinyvits_file(tmp_path: Path) -> None:
    memmaps.write_records(tmp_path / "records.bin", CUTS.ids_NK, CUTS.probs_NK)
    ids_NK, probs_NK = memmaps.to_float32(memmaps.open_records(tmp_path / "records.bin", 5))
    np.testing.assert_array_equal(ids_NK, CUTS.ids_NK)
    np.testing.assert_allclose(probs_NK, CUTS.probs_NK, rtol=1e-3, atol=1e-7)
