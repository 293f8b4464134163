"""The cut on the device, against the NumPy reference."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.logits import order_keys as reference_keys
from kdcache.precompute.cut import DeviceFeatures, cut_all, cut_top_k, order_keys, top_k_ids


def _logits(seed: int, *, rows: int = 6, classes: int = 40, ties: bool = False) -> torch.Tensor:
    values = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * 3
    return (values * 2).round() / 2 if ties else values


def _assert_close(cut: TopKLogits, reference: TopKLogits) -> None:
    if reference.class_ids_NK is None:
        assert cut.class_ids_NK is None
    else:
        np.testing.assert_array_equal(cut.class_ids_NK, reference.class_ids_NK)
    np.testing.assert_array_equal(cut.logits_NK, reference.logits_NK)
    np.testing.assert_array_equal(cut.top1_N, reference.top1_N)
    np.testing.assert_allclose(cut.tail_N5, reference.tail_N5, atol=1e-4, rtol=1e-5)
    assert cut.num_classes == reference.num_classes


@given(seed=st.integers(0, 1000), k=st.integers(1, 40), ties=st.booleans())
def test_the_cut_is_the_reference_s(seed: int, k: int, ties: bool) -> None:
    logits_BC = _logits(seed, ties=ties)
    _assert_close(cut_top_k(logits_BC, k).to_host().to_numpy(), top_k(logits_BC.numpy(), k))


def test_ties_at_the_cut_go_to_the_lower_class() -> None:
    logits_BC = torch.tensor([[1.0, 2.0, 1.0, 1.0, 3.0]])
    assert top_k_ids(logits_BC, 3).tolist() == [[4, 1, 0]]


def test_negative_zero_ties_with_zero() -> None:
    cut = cut_top_k(torch.tensor([[-0.0, 0.0, -1.0]]), 1).to_numpy()
    assert cut.class_ids_NK is not None
    assert cut.class_ids_NK.tolist() == [[0]]


def test_classes_at_minus_infinity_are_not_kept() -> None:
    logits_BC = torch.full((2, 9), -torch.inf)
    logits_BC[0, [3, 5]] = torch.tensor([1.0, 2.0])
    logits_BC[1, :7] = torch.arange(7.0)
    _assert_close(cut_top_k(logits_BC, 4).to_numpy(), top_k(logits_BC.numpy(), 4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_show_in_the_top_logit(bad: float) -> None:
    logits_BC = _logits(1)
    logits_BC[2, 7] = bad
    for cut in (cut_top_k(logits_BC, 5), cut_all(logits_BC)):
        assert np.isfinite(cut.to_numpy().top1_N).tolist() == [True, True, False, True, True, True]


def test_a_far_tail_keeps_its_odds() -> None:
    logits_BC = torch.tensor([[0.0, -300.0, -320.0]])
    _assert_close(cut_top_k(logits_BC, 1).to_numpy(), top_k(logits_BC.numpy(), 1))


def test_all_classes_are_kept_in_class_order() -> None:
    logits_BC = _logits(3)
    logits_BC[0, 4] = -torch.inf
    _assert_close(cut_all(logits_BC).to_numpy(), all_classes(logits_BC.numpy()))


def test_the_order_is_the_reference_s() -> None:
    logits_BC = _logits(4, ties=True)
    keys_BC = order_keys(logits_BC + 0.0, torch.arange(40))
    np.testing.assert_array_equal(keys_BC.numpy(), reference_keys(logits_BC.numpy()))


@pytest.mark.gpu
def test_the_device_cuts_as_the_host_does() -> None:
    logits_BC = _logits(5, rows=300, classes=1000, ties=True)
    cut = cut_top_k(logits_BC.cuda(), 50).to_host().to_numpy()
    _assert_close(cut, top_k(logits_BC.numpy(), 50))
    _assert_close(cut_all(logits_BC.cuda()).to_host().to_numpy(), all_classes(logits_BC.numpy()))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_features_arrive_as_they_left(device: str) -> None:
    features_BD = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    arrived = DeviceFeatures(features_BD.to(device)).to_host().to_numpy()
    assert np.array_equal(arrived, features_BD.numpy())
