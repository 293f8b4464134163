"""The cut, its order and its tail, against plain float64 arithmetic."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from kdcache.logits import (
    NO_TAIL,
    Float32,
    TopKLogits,
    all_classes,
    cubic_at_half,
    order_keys,
    tail_log_sum,
    top_k,
)

LOGITS = arrays(np.float32, (3, 12), elements=st.floats(-30, 30, width=16))


def softmax(logits_NC: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    scaled = logits_NC.astype(np.float64) / temperature
    exp = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probs: NDArray[np.float64] = exp / exp.sum(axis=1, keepdims=True)
    return probs


def bfloat16(logits_NC: Float32) -> Float32:
    return (logits_NC.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@given(LOGITS)
def test_classes_are_ordered_by_logit_then_by_class_id(logits_NC: Float32) -> None:
    cut = top_k(logits_NC, 12)
    assert cut.class_ids_NK is not None
    for row, ids in zip(logits_NC, cut.class_ids_NK, strict=True):
        assert ids.tolist() == sorted(range(12), key=lambda c: (-row[c], c))


@given(arrays(np.float32, (4, 30), elements=st.floats(-2, 2, width=32)))
def test_ties_in_bfloat16_are_cut_by_class_id(logits_NC: Float32) -> None:
    tied_NC = bfloat16(np.round(logits_NC))
    cut = top_k(tied_NC, 7)
    assert cut.class_ids_NK is not None
    for row, ids in zip(tied_NC, cut.class_ids_NK, strict=True):
        assert ids.tolist() == sorted(range(30), key=lambda c: (-row[c], c))[:7]


def test_order_keys_rank_infinity_lowest_and_know_one_zero() -> None:
    keys = order_keys(np.array([[-np.inf, -1.0, -0.0, 0.0, 1e-40, 5.0]], dtype=np.float32))[0]
    assert np.argsort(-keys).tolist() == [5, 4, 2, 3, 1, 0]


@given(LOGITS, st.integers(1, 11))
def test_kept_probabilities_are_the_dense_ones_at_a_temperature_of_1(logits_NC: Float32, k: int) -> None:
    cut = top_k(logits_NC, k)
    assert cut.class_ids_NK is not None
    expected = np.take_along_axis(softmax(logits_NC, 1.0), cut.class_ids_NK.astype(np.int64), axis=1)
    np.testing.assert_allclose(cut.kept_probs_NK(1.0), expected, atol=2e-5)


def log_sum(tail_NC: NDArray[np.float64], inverse: float) -> NDArray[np.float64]:
    largest_N = tail_NC.max(axis=1)
    sums_N: NDArray[np.float64] = np.exp((tail_NC - largest_N[:, None]) * inverse).sum(axis=1)
    logs_N: NDArray[np.float64] = np.log(sums_N) + largest_N * inverse
    return logs_N


def estimated(tail_NC: NDArray[np.float64], inverse: float, *, worst: float = 0.0) -> NDArray[np.float64]:
    known = {
        "log_count": np.log(tail_NC.shape[1]),
        "log_sum": log_sum(tail_NC, 1.0),
        "mean": tail_NC.mean(axis=1),
        "std": tail_NC.std(axis=1),
    }
    bend_N = log_sum(tail_NC, 0.5) - cubic_at_half(**known)
    found: NDArray[np.float64] = tail_log_sum(np.float64(inverse), **known, bend=bend_N, worst=worst)
    return found


TAILS = arrays(np.float64, (3, 8), elements=st.floats(-30, -1))


@given(TAILS, st.floats(0, 3))
def test_the_tail_s_sum_is_held_between_its_bounds_at_every_temperature(tail_NC: Any, inverse: float) -> None:
    found_N, log_n, log_sum_N = estimated(tail_NC, inverse), np.log(8), log_sum(tail_NC, 1.0)
    if inverse <= 1:
        assert (found_N <= log_n + inverse * (log_sum_N - log_n) + 1e-9).all()
        assert (found_N >= log_n + inverse * tail_NC.mean(axis=1) - 1e-9).all()
    else:
        assert (found_N <= log_sum_N + 1e-9).all()
        assert (found_N >= log_sum_N + (inverse - 1) * (log_sum_N - log_n) - 1e-9).all()


@given(TAILS)
def test_the_tail_s_sum_is_exact_at_temperatures_of_1_2_and_infinity(tail_NC: Any) -> None:
    np.testing.assert_allclose(estimated(tail_NC, 1.0), log_sum(tail_NC, 1.0), atol=1e-9)
    np.testing.assert_allclose(estimated(tail_NC, 0.5), log_sum(tail_NC, 0.5), atol=1e-9)
    np.testing.assert_allclose(estimated(tail_NC, 0.0), np.log(8), atol=1e-12)


@given(st.floats(-30, -1), st.floats(0, 1))
def test_a_tail_of_one_class_or_of_equal_ones_is_exact_at_every_temperature_above_1(
    logit: float, inverse: float
) -> None:
    for width in (1, 8):
        tail_NC = np.full((1, width), logit)
        np.testing.assert_allclose(estimated(tail_NC, inverse), log_sum(tail_NC, inverse), atol=1e-9)


@pytest.mark.parametrize(("temperature", "bound"), [(1.2, 1e-2), (2.0, 1e-2), (4.0, 2e-3), (20.0, 1e-4)])
def test_the_sum_of_many_classes_is_close_at_every_temperature(temperature: float, bound: float) -> None:
    rng = np.random.Generator(np.random.Philox(3))
    tail_NC = np.minimum(rng.gumbel(-8.0, 1.0, size=(50, 950)), -4.0)
    error_N = estimated(tail_NC, 1 / temperature, worst=-4.0) - log_sum(tail_NC, 1 / temperature)
    assert np.abs(error_N).max() < bound


def test_to_dense_spreads_the_tail_over_the_missing_classes() -> None:
    logits_NC = np.array([[2.0, 1.0, 0.0, -1.0]], dtype=np.float32)
    dense = top_k(logits_NC, 2).to_dense_NC(1.0)
    expected = softmax(logits_NC, 1.0)
    expected[:, 2:] = expected[:, 2:].mean()
    np.testing.assert_allclose(dense, expected, rtol=1e-5)


def test_a_tail_far_below_the_kept_classes_is_still_a_tail() -> None:
    cut = top_k(np.array([[0.0, -400.0]], dtype=np.float32), 1)
    assert cut.tail_N5.tolist() == [[1.0, -400.0, -400.0, 0.0, 0.0]]
    assert TopKLogits.tail_mass_N(cut, 100.0)[0] == pytest.approx(1 / (1 + np.exp(4.0)))


def test_no_tail_is_minus_infinity() -> None:
    cut = top_k(np.array([[0.0, -np.inf]], dtype=np.float32), 1)
    assert cut.tail_N5.tolist() == [list(NO_TAIL)]
    assert cut.tail_mass_N(1.5).tolist() == [0.0]


def test_fewer_finite_classes_than_k_leave_empty_places() -> None:
    cut = top_k(np.array([[-np.inf, 3.0, -np.inf, 1.0]], dtype=np.float32), 3)
    assert cut.class_ids_NK is not None
    assert cut.class_ids_NK.tolist() == [[1, 3, -1]]
    assert cut.logits_NK.tolist() == [[3.0, 1.0, -np.inf]]
    assert cut.to_dense_NC(1.0)[0, [0, 2]].tolist() == [0.0, 0.0]


def test_the_tail_is_of_finite_logits_relative_to_the_best() -> None:
    cut = top_k(np.array([[5.0, 3.0, 1.0, 0.0, -np.inf]], dtype=np.float32), 2)
    log_odds = np.log((np.exp(-4.0) + np.exp(-5.0)) / (1.0 + np.exp(-2.0)))
    assert cut.tail_N5[0].tolist() == pytest.approx([2.0, log_odds, -4.5, 0.5, 0.0], abs=1e-3)


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_classes_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 classes"):
        top_k(np.zeros((1, 3), dtype=np.float32), k)


@pytest.mark.parametrize("bad", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_logits_without_a_finite_best_are_refused(bad: list[float]) -> None:
    logits_NC = np.array([bad], dtype=np.float32)
    with pytest.raises(ValueError, match=r"NaN, \+inf, or a row without a finite value"):
        top_k(logits_NC, 1)
    with pytest.raises(ValueError, match=r"NaN, \+inf, or a row without a finite value"):
        all_classes(logits_NC)


def test_a_dense_cut_has_every_temperature() -> None:
    logits_NC = np.array([[2.0, 1.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(all_classes(logits_NC).to_dense_NC(9.0), softmax(logits_NC, 9.0), rtol=1e-6)


def test_take_selects_rows_and_rows_without_targets_are_not_valid() -> None:
    cut = top_k(np.array([[1.0, 0.0], [5.0, 0.0]], dtype=np.float32), 1)
    marked = TopKLogits(
        cut.class_ids_NK,
        cut.logits_NK,
        np.array([np.nan, 5.0], dtype=np.float32),
        cut.tail_N5,
        2,
    )
    assert marked.valid_N.tolist() == [False, True]
    assert len(marked.take([1])) == 1
    assert marked.take([1]).top1_N.tolist() == [5.0]
    assert all_classes(np.zeros((2, 3), dtype=np.float32)).take([0]).class_ids_NK is None
