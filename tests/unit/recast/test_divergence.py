"""KL between stored answers, against dense distributions."""

import numpy as np
import pytest

from kdcache.logits import Float32, all_classes, top_k
from kdcache.recast import divergence
from kdcache.recast.divergence import divergences, log_sum_exp


def _logits(seed: int) -> Float32:
    return (np.random.default_rng(seed).standard_normal((50, 30)) * 2).astype(np.float32)


def _probs(logits_NC: Float32) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    exp_NC = np.exp(logits_NC.astype(np.float64))
    return np.asarray(exp_NC / exp_NC.sum(axis=1, keepdims=True))


def test_dense_targets_give_the_divergence_of_their_distributions() -> None:
    first, second = _logits(1), _logits(2)
    kl_N, is_agreed_N = divergences(all_classes(first), all_classes(second))
    p_NC, q_NC = _probs(first), _probs(second)
    np.testing.assert_allclose(kl_N, (p_NC * np.log(p_NC / q_NC)).sum(axis=1), rtol=1e-9)
    np.testing.assert_array_equal(is_agreed_N, first.argmax(axis=1) == second.argmax(axis=1))


@pytest.mark.parametrize(("one", "other"), [(8, 8), (8, 3), (1, 20)])
def test_cut_targets_are_compared_over_shared_classes_and_all_others(one: int, other: int) -> None:
    first, second = top_k(_logits(1), one), top_k(_logits(2), other)
    kl_N, _ = divergences(first, second)
    p_NC, q_NC = _probs(_logits(1)), _probs(_logits(2))
    assert first.class_ids_NK is not None
    assert second.class_ids_NK is not None
    for row in range(50):
        shared = sorted(set(first.class_ids_NK[row].tolist()) & set(second.class_ids_NK[row].tolist()))
        p_O, q_O = (np.append(values[row][shared], 1 - values[row][shared].sum()) for values in (p_NC, q_NC))
        assert kl_N[row] == pytest.approx((p_O * np.log(p_O / q_O)).sum(), rel=1e-4, abs=1e-6)


def test_equal_answers_diverge_by_nothing_whatever_their_k() -> None:
    kl_N, is_agreed_N = divergences(top_k(_logits(1), 9), all_classes(_logits(1)))
    assert kl_N.max() < 1e-6
    assert is_agreed_N.all()


def test_what_the_second_rules_out_counts_finitely() -> None:
    second = _logits(2)
    second[:, 5:] = -np.inf
    kl_N, _ = divergences(all_classes(_logits(1)), all_classes(second))
    assert np.isfinite(kl_N).all()
    assert kl_N.min() > 1.0


def test_many_rows_are_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = divergences(top_k(_logits(1), 4), top_k(_logits(2), 4))
    monkeypatch.setattr(divergence, "_CELLS_AT_ONCE", 7 * 30)
    parts, _ = divergences(top_k(_logits(1), 4), top_k(_logits(2), 4))
    np.testing.assert_array_equal(parts, whole)


def test_no_rows_give_no_divergences() -> None:
    kl_N, is_agreed_N = divergences(top_k(_logits(1), 4).take([]), top_k(_logits(2), 4).take([]))
    assert len(kl_N) == len(is_agreed_N) == 0


def test_a_sum_of_nothing_is_minus_infinity() -> None:
    values = np.array([[-1000.0, -1001.0], [-np.inf, -np.inf]])
    np.testing.assert_allclose(log_sum_exp(values), [-1000 + np.log1p(np.exp(-1)), -np.inf])
    assert log_sum_exp(np.zeros((2, 0))).tolist() == [-np.inf, -np.inf]
