"""Sizes of units, against real ones."""

from typing import Any

import numpy as np
import pytest

from kdcache.logits import all_classes, top_k
from kdcache.precompute.pilot_rows import PilotRows
from kdcache.precompute.unit_bytes import UnitBytes
from kdcache.store.encoding import encode
from kdcache.store.layout import Layout
from kdcache.store.manifest import Encoding
from kdcache.store.pack import encode_object
from tests.support.stores import make_manifest, make_teacher

ENCODINGS: tuple[Encoding, ...] = ("gap8", "dense8", "float32", "hard")


def _layout(encoding: Encoding, *, rows: int = 64, seeds: int = 3) -> Layout:
    teachers = {"cnn": make_teacher(encoding=encoding)}
    manifest = make_manifest(
        num_samples=(rows,),
        rows_per_block=rows,
        num_aug_seeds=seeds,
        seeds_per_group=seeds,
        teachers=teachers,
    )
    return Layout.of(manifest.identity)


def _planes(encoding: Encoding, num_rows: int, *, first: int = 0) -> Any:
    noise = np.random.default_rng(first).standard_normal((num_rows, 20)).astype(np.float32)
    cut = (
        all_classes(noise)
        if encoding in {"dense8", "float32"}
        else top_k(noise, 1 if encoding == "hard" else 5)
    )
    return encode(cut, encoding=encoding, top_k=cut.logits_NK.shape[1])


def _pilot(encoding: Encoding, num_rows: int) -> PilotRows:
    return PilotRows(
        runs=tuple(range(first, first + 8) for first in range(0, num_rows, 8)),
        planes={"cnn": _planes(encoding, num_rows)},
        ok_N=np.ones(num_rows, dtype=np.bool_),
        labels_N=np.arange(num_rows, dtype=np.int32) % 10,
        thumbnails_N=np.zeros((num_rows, 8, 8, 3), dtype=np.uint8),
        num_samples=num_rows,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("num_rows", [5, 40, 64])
@pytest.mark.parametrize("pilot_rows", [32, 128])
def test_targets_take_what_a_real_object_takes(encoding: Encoding, num_rows: int, pilot_rows: int) -> None:
    layout = _layout(encoding)
    spec = layout.targets["cnn"]
    values = np.full(spec.object_shape, spec.fill, dtype=spec.dtype)
    for seed in range(3):
        values[seed, :, :num_rows] = _planes(encoding, num_rows, first=seed + 1)
    true = len(encode_object(spec, values))
    found = UnitBytes(layout, _pilot(encoding, pilot_rows)).of_targets("cnn", num_rows)
    assert found == pytest.approx(true, rel=0.1)


def test_digests_are_incompressible() -> None:
    layout = _layout("hard", rows=512)
    views = UnitBytes(layout, _pilot("hard", 64)).of_views(512)
    assert 3 * 4 * 512 < views < 3 * (4 * 512 + 200)


def test_keys_are_the_real_ones() -> None:
    sizes = UnitBytes(_layout("hard"), _pilot("hard", 64))
    short = sizes.of_samples([f"{n:04d}" for n in range(64)])
    random = [np.random.default_rng(n).bytes(50).hex() for n in range(64)]
    assert sizes.of_samples(random) > short + 64 * 45
