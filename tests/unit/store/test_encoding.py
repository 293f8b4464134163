"""Every encoding gives back what its definition promises."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdcache.errors import CorruptChunkError
from kdcache.logits import Float32, TopKLogits, all_classes, top_k
from kdcache.store.encoding import decode, empty_planes, encode, plane_dtype
from kdcache.store.gap8 import count_saturated
from kdcache.store.head import Planes

NEAR = arrays(np.float32, (4, 20), elements=st.floats(-7, 7, width=32))
FAR = arrays(np.float32, (4, 20), elements=st.floats(-100, 100, width=32))
WITH_HOLES = arrays(
    np.float32, (4, 20), elements=st.one_of(st.just(-np.inf), st.floats(-7, 7, width=32))
).map(lambda logits: np.concatenate([np.zeros((4, 1), dtype=np.float32), logits[:, 1:]], axis=1))
KS = st.integers(1, 19)


def round_trip(cut: TopKLogits, encoding: Any) -> TopKLogits:
    k = cut.logits_NK.shape[1]
    planes = encode(cut, encoding=encoding, top_k=k)
    return decode(planes, encoding=encoding, top_k=k, num_classes=cut.num_classes)


def relative(cut: TopKLogits) -> Float32:
    below: Float32 = cut.logits_NK - cut.top1_N[:, None]
    return below


@given(NEAR, KS)
def test_gap8_is_within_a_32nd_nat_of_unsaturated_rows(logits_NC: Float32, k: int) -> None:
    cut = top_k(logits_NC, k)
    found = round_trip(cut, "gap8")
    assert count_saturated(cut) == 0
    assert np.abs(relative(found) - relative(cut)).max() <= 1 / 32 + 1e-6


@given(FAR, KS)
def test_gap8_keeps_the_order_of_classes(logits_NC: Float32, k: int) -> None:
    cut = top_k(logits_NC, k)
    found = round_trip(cut, "gap8")
    np.testing.assert_array_equal(found.class_ids_NK, cut.class_ids_NK)
    assert (np.diff(found.logits_NK, axis=1) <= 0).all()


@given(FAR, KS)
def test_gap8_rounds_each_gap_against_the_reconstructed_class(logits_NC: Float32, k: int) -> None:
    cut = top_k(logits_NC, k)
    gaps_KN = encode(cut, encoding="gap8", top_k=k)[k : 2 * k - 1]
    below_NK = cut.top1_N[:, None].astype(np.float64) - cut.logits_NK
    for row in range(4):
        reached = 0
        for place in range(1, k):
            gap = min(254, int(np.floor(below_NK[row, place] * 16 - reached + 0.5)))
            assert gaps_KN[place - 1, row] == gap
            reached += gap


def test_a_gap_above_254_steps_saturates_and_is_made_up_for() -> None:
    cut = top_k(np.array([[0.0, -20.0, -21.0, -22.0]], dtype=np.float32), 3)
    assert count_saturated(cut) == 1
    assert relative(round_trip(cut, "gap8")).tolist() == [[0.0, -254 / 16, -21.0]]


def test_a_gap_of_exactly_254_steps_is_not_saturated() -> None:
    cut = top_k(np.array([[0.0, -254 / 16, -30.0]], dtype=np.float32), 2)
    assert count_saturated(cut) == 0
    assert relative(round_trip(cut, "gap8")).tolist() == [[0.0, -254 / 16]]


@given(WITH_HOLES, KS)
def test_gap8_marks_missing_classes(logits_NC: Float32, k: int) -> None:
    cut = top_k(logits_NC, k)
    planes = encode(cut, encoding="gap8", top_k=k)
    found = decode(planes, encoding="gap8", top_k=k, num_classes=20)
    assert cut.class_ids_NK is not None
    np.testing.assert_array_equal(found.class_ids_NK, cut.class_ids_NK)
    np.testing.assert_array_equal(np.isneginf(found.logits_NK), cut.class_ids_NK < 0)
    np.testing.assert_array_equal((planes[k : 2 * k - 1] == 255).T, cut.class_ids_NK[:, 1:] < 0)


@given(NEAR, KS)
def test_the_head_is_the_same_in_every_top_k_encoding(logits_NC: Float32, k: int) -> None:
    cut, found = top_k(logits_NC, k), round_trip(top_k(logits_NC, k), "gap8")
    np.testing.assert_allclose(found.top1_N, cut.top1_N, atol=1 / 32 + 1e-5)
    np.testing.assert_allclose(found.tail_N5, cut.tail_N5, atol=1 / 128 + 1e-5)
    np.testing.assert_array_equal(found.tail_N5[:, 0], cut.tail_N5[:, 0])


@given(NEAR)
def test_hard_is_the_best_class_with_a_head(logits_NC: Float32) -> None:
    cut = top_k(logits_NC, 1)
    planes = encode(cut, encoding="hard", top_k=1)
    np.testing.assert_array_equal(planes, encode(cut, encoding="gap8", top_k=1))
    np.testing.assert_array_equal(round_trip(cut, "hard").class_ids_NK, cut.class_ids_NK)


@given(FAR)
def test_dense8_is_within_half_a_step(logits_NC: Float32) -> None:
    cut = all_classes(logits_NC)
    found = round_trip(cut, "dense8")
    step_N1 = (logits_NC.max(axis=1) - logits_NC.min(axis=1))[:, None] / 254
    assert found.class_ids_NK is None
    assert (np.abs(relative(found) - relative(cut)) <= step_N1 / 2 + 1e-4).all()


@given(WITH_HOLES)
def test_dense8_keeps_minus_infinity(logits_NC: Float32) -> None:
    found = round_trip(all_classes(logits_NC), "dense8")
    np.testing.assert_array_equal(np.isneginf(found.logits_NK), np.isneginf(logits_NC))


def test_dense8_of_equal_logits_has_a_step_of_zero() -> None:
    cut = all_classes(np.full((1, 5), 3.0, dtype=np.float32))
    assert round_trip(cut, "dense8").logits_NK.tolist() == [[3.0] * 5]


@given(st.one_of(FAR, WITH_HOLES))
def test_float32_is_exact(logits_NC: Float32) -> None:
    found = round_trip(all_classes(logits_NC), "float32")
    np.testing.assert_array_equal(found.logits_NK.view(np.uint32), logits_NC.view(np.uint32))
    np.testing.assert_array_equal(found.top1_N, logits_NC.max(axis=1))


def test_floats_are_stored_high_half_first() -> None:
    planes = encode(all_classes(np.array([[1.5, -2.0]], dtype=np.float32)), encoding="float32", top_k=2)
    assert planes[:4, 0].tolist() == [0x3FC0, 0x0000, 0xC000, 0x0000]


def cuts_with_a_bad_row() -> dict[str, TopKLogits]:
    logits_NC = np.arange(12, dtype=np.float32).reshape(3, 4)
    cuts = {"gap8": top_k(logits_NC, 2), "hard": top_k(logits_NC, 1)}
    cuts |= {name: all_classes(logits_NC) for name in ("dense8", "float32")}
    top1_N = np.array([3.0, np.nan, 11.0], dtype=np.float32)
    return {name: replace(cut, top1_N=top1_N) for name, cut in cuts.items()}


@pytest.mark.parametrize("encoding", ["gap8", "dense8", "float32", "hard"])
def test_rows_without_targets_are_all_ones_and_come_back_invalid(encoding: Any) -> None:
    cut = cuts_with_a_bad_row()[encoding]
    k = cut.logits_NK.shape[1]
    planes = encode(cut, encoding=encoding, top_k=k)
    assert (planes[:, 1] == 0xFFFF).all()
    assert (planes[0, [0, 2]] != 0xFFFF).all()
    found = decode(planes, encoding=encoding, top_k=k, num_classes=4)
    assert found.valid_N.tolist() == [True, False, True]
    assert np.isneginf(found.logits_NK[1]).all()
    assert np.isfinite(found.logits_NK[[0, 2]]).all()


@pytest.mark.parametrize("encoding", ["gap8", "dense8", "float32", "hard"])
def test_a_block_without_any_targets_decodes(encoding: Any) -> None:
    k = 4 if encoding in {"dense8", "float32"} else 1
    planes = empty_planes((8,), encoding=encoding, top_k=k, num_classes=4)
    assert not decode(planes, encoding=encoding, top_k=k, num_classes=4).valid_N.any()


def test_many_classes_take_uint32_planes() -> None:
    logits_NC = np.zeros((2, 70_000), dtype=np.float32)
    logits_NC[:, 69_999] = -300.5
    logits_NC[:, 66_000] = 1.0
    cut = top_k(logits_NC, 3)
    planes = encode(cut, encoding="gap8", top_k=3)
    assert planes.dtype == np.uint32
    found = decode(planes, encoding="gap8", top_k=3, num_classes=70_000)
    assert found.class_ids_NK is not None
    assert found.class_ids_NK.tolist() == [[66_000, 0, 1]] * 2
    assert found.tail_N5[:, 0].tolist() == [69_997.0] * 2
    np.testing.assert_allclose(found.tail_N5, cut.tail_N5, atol=1 / 128)
    assert [plane_dtype("gap8", n) for n in (65_534, 65_535)] == [np.uint16, np.uint32]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    logits_NC = np.zeros((1, 3), dtype=np.float32)
    dense = replace(all_classes(logits_NC), logits_NK=np.array([[0.0, bad, 0.0]], dtype=np.float32))
    with pytest.raises(ValueError, match=r"NaN or \+inf"):
        encode(dense, encoding="float32", top_k=3)


@pytest.mark.parametrize(
    ("encoding", "k", "message"),
    [
        ("dense8", 2, "stores all classes in class order"),
        ("gap8", 3, "keeps 2 of 4 classes, not K=3"),
    ],
)
def test_a_cut_that_does_not_fit_the_encoding_is_refused(encoding: Any, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(top_k(np.zeros((1, 4), dtype=np.float32), 2), encoding=encoding, top_k=k)


def planes_with(row: int, value: int) -> Planes:
    planes = encode(top_k(np.zeros((1, 4), dtype=np.float32), 2), encoding="gap8", top_k=2)
    planes[row, 0] = value
    return planes


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        (planes_with(0, 4), "a class id is not below 4"),
        (planes_with(2, 255), "a gap is above 254"),
        (planes_with(2, 256), "a gap is above 254"),
        (planes_with(0, 0)[:-1], "a view has 8 planes"),
    ],
)
def test_planes_out_of_range_are_not_decoded(planes: Planes, message: str) -> None:
    with pytest.raises(CorruptChunkError, match=message):
        decode(planes, encoding="gap8", top_k=2, num_classes=4)
