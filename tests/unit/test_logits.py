"""The cut, its order and its tail, against plain float64 arithmetic."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from kdcache.errors import ConfigError
from kdcache.logits import Float32, TopKLogits, all_classes, interpolate_tail, order_keys, top_k

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


@given(LOGITS, st.sampled_from([1.0, 2.0, 4.0]), st.integers(1, 11))
def test_kept_probabilities_are_the_dense_ones_at_stored_temperatures(
    logits_NC: Float32, temperature: float, k: int
) -> None:
    cut = top_k(logits_NC, k)
    assert cut.class_ids_NK is not None
    expected = np.take_along_axis(softmax(logits_NC, temperature), cut.class_ids_NK.astype(np.int64), axis=1)
    np.testing.assert_allclose(cut.kept_probs_NK(temperature), expected, atol=2e-5)


@given(LOGITS, st.floats(1.0, 4.0))
def test_the_tail_between_stored_temperatures_is_close(logits_NC: Float32, temperature: float) -> None:
    cut = top_k(logits_NC, 4)
    assert cut.class_ids_NK is not None
    probs = softmax(logits_NC, temperature)
    kept = np.take_along_axis(probs, cut.class_ids_NK.astype(np.int64), axis=1).sum(axis=1)
    assert np.abs(cut.tail_mass_N(temperature) - (1 - kept)).max() < 0.15


def test_to_dense_spreads_the_tail_over_the_missing_classes() -> None:
    logits_NC = np.array([[2.0, 1.0, 0.0, -1.0]], dtype=np.float32)
    dense = top_k(logits_NC, 2).to_dense_NC(1.0)
    expected = softmax(logits_NC, 1.0)
    expected[:, 2:] = expected[:, 2:].mean()
    np.testing.assert_allclose(dense, expected, rtol=1e-5)


def test_a_tail_far_below_the_kept_classes_is_still_a_tail() -> None:
    cut = top_k(np.array([[0.0, -400.0]], dtype=np.float32), 1)
    assert cut.tail_log_odds_N3.tolist() == [[-400.0, -200.0, -100.0]]


def test_no_tail_is_minus_infinity() -> None:
    cut = top_k(np.array([[0.0, -np.inf]], dtype=np.float32), 1)
    assert np.isneginf(cut.tail_log_odds_N3).all()
    assert cut.tail_mass_N(1.5).tolist() == [0.0]


def test_fewer_finite_classes_than_k_leave_empty_places() -> None:
    cut = top_k(np.array([[-np.inf, 3.0, -np.inf, 1.0]], dtype=np.float32), 3)
    assert cut.class_ids_NK is not None
    assert cut.class_ids_NK.tolist() == [[1, 3, -1]]
    assert cut.logits_NK.tolist() == [[3.0, 1.0, -np.inf]]
    assert cut.to_dense_NC(1.0)[0, [0, 2]].tolist() == [0.0, 0.0]


def test_moments_are_over_finite_logits_relative_to_the_best() -> None:
    cut = top_k(np.array([[5.0, 3.0, 1.0, -np.inf]], dtype=np.float32), 2)
    assert cut.mean_N.tolist() == [-2.0]
    assert cut.std_N[0] == pytest.approx(np.std([0.0, -2.0, -4.0]))


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


@pytest.mark.parametrize("temperature", [0.5, 4.1])
def test_temperatures_at_which_the_tail_is_unknown_are_refused(temperature: float) -> None:
    cut = top_k(np.zeros((1, 3), dtype=np.float32), 2)
    with pytest.raises(ConfigError, match=r"not between 1 and 4.*dense8"):
        cut.kept_probs_NK(temperature)


def test_a_dense_cut_has_every_temperature() -> None:
    logits_NC = np.array([[2.0, 1.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(all_classes(logits_NC).to_dense_NC(9.0), softmax(logits_NC, 9.0), rtol=1e-6)


def test_interpolation_is_linear_in_inverse_temperature() -> None:
    tail_N3 = np.array([[-4.0, -2.0, 0.0]], dtype=np.float32)
    assert interpolate_tail(tail_N3, 1 / 0.75).tolist() == [-3.0]
    assert interpolate_tail(tail_N3, 1 / 0.375)[0] == pytest.approx(-1.0)
    assert [interpolate_tail(tail_N3, t).tolist() for t in (1.0, 2.0, 4.0)] == [[-4.0], [-2.0], [0.0]]


def test_take_selects_rows_and_rows_without_targets_are_not_valid() -> None:
    cut = top_k(np.array([[1.0, 0.0], [5.0, 0.0]], dtype=np.float32), 1)
    marked = TopKLogits(
        cut.class_ids_NK,
        cut.logits_NK,
        np.array([np.nan, 5.0], dtype=np.float32),
        cut.tail_log_odds_N3,
        cut.mean_N,
        cut.std_N,
        2,
    )
    assert marked.valid_N.tolist() == [False, True]
    assert len(marked.take([1])) == 1
    assert marked.take([1]).top1_N.tolist() == [5.0]
    assert all_classes(np.zeros((2, 3), dtype=np.float32)).take([0]).class_ids_NK is None
