"""A store of format 1 that was committed once opens for ever, and is written the same way to the byte."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from kdcache.logits import all_classes, top_k
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from tests.golden.make_store import KEYS, PATH, STATUS, TEACHERS, VIEWS, logits_of, make, table

CONTENT_ID = "sha256:b9f192e413e1001c5e02a69a66c4a357b115aaa22c054bc3386670ad9c63f27d"
OK_ROWS = [row for row, status in enumerate(STATUS) if status == 0]


def test_the_golden_store_is_intact_and_keeps_its_content_id() -> None:
    report = verify(PATH)
    assert report.content_id == CONTENT_ID
    assert (report.units, report.total_units, report.unknown) == (13, 13, ())


def test_the_same_values_are_written_to_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path)
    names = sorted(file.relative_to(PATH) for file in PATH.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file())
    assert [name for name in names if (PATH / name).read_bytes() != (tmp_path / name).read_bytes()] == []


def test_the_golden_samples_are_read() -> None:
    found = open_cache(PATH).samples(0)
    assert found.keys == KEYS
    assert table().first_difference(found) is None


@pytest.mark.parametrize("seed", range(VIEWS))
@pytest.mark.parametrize("teacher", TEACHERS)
def test_the_golden_targets_are_those_of_their_logits(teacher: str, seed: int) -> None:
    encoding, k, num_classes = TEACHERS[teacher]
    found = open_cache(PATH).targets(teacher, 0, seed)
    assert np.flatnonzero(found.valid_N).tolist() == OK_ROWS
    logits_NC = np.stack([logits_of(row, seed, num_classes) for row in OK_ROWS])
    wanted = all_classes(logits_NC) if encoding in {"dense8", "float32"} else top_k(logits_NC, k)
    found = found.take(OK_ROWS)
    np.testing.assert_array_equal(np.isneginf(found.logits_NK), np.isneginf(wanted.logits_NK))
    if wanted.class_ids_NK is not None:
        np.testing.assert_array_equal(found.class_ids_NK, wanted.class_ids_NK)
    if encoding == "float32":
        np.testing.assert_array_equal(found.logits_NK, wanted.logits_NK)
    np.testing.assert_allclose(found.top1_N, wanted.top1_N, atol=1 / 32)
    np.testing.assert_allclose(found.tail_N5, wanted.tail_N5, atol=1 / 128 + 1e-6)


def test_plain_zarr_reads_the_documented_planes() -> None:
    """The arithmetic of docs/store-format.md by hand, for one view of each encoding."""
    group = zarr.open_group(PATH, mode="r")
    row, seed = 4, 3
    logits = logits_of(row, seed, 10)
    best = np.lexsort((np.arange(10), -logits))
    planes = {name: np.asarray(group[f"teachers/{name}/targets"])[seed, :, row] for name in TEACHERS}
    assert planes["gap8"][:4].tolist() == best[:4].tolist()
    steps = np.floor((logits[best[0]] - logits[best[:4]]) * 16 + 0.5)
    assert planes["gap8"][4:7].tolist() == np.diff(steps).tolist()
    assert planes["hard"][0] == best[0]
    rest = logits[best[4:]] - logits[best[0]]
    log_odds = np.log(np.exp(rest).sum() / np.exp(logits[best[:4]] - logits[best[0]]).sum())
    log_sum, mean, std = np.log(np.exp(rest).sum()), rest.mean(), rest.std()
    cubic = np.log(6) + mean / 2 + std**2 / 8 + (log_sum - np.log(6) - mean - std**2 / 2) / 8
    head = np.array([log_odds, mean, std, np.log(np.exp(rest / 2).sum()) - cubic])
    assert planes["gap8"][8] == 6
    assert planes["gap8"][7].view(np.int16) == np.floor(logits[best[0]] * 16 + 0.5)
    assert planes["gap8"][9:].view(np.int16).tolist() == np.floor(head * 64 + 0.5).tolist()
    bits = (planes["float32"][:20:2].astype(np.uint32) << 16) | planes["float32"][1:20:2]
    assert bits.view(np.float32).tolist() == logits.tolist()
    step = (planes["dense8"][10:11].astype(np.uint32) << 16 | planes["dense8"][11:12]).view(np.float32)[0]
    assert step == np.float32((logits.max() - logits.min()) / 254)
    assert planes["dense8"][:10].tolist() == np.floor((logits.max() - logits) / step + 0.5).tolist()
