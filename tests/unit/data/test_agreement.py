"""Stored targets are within the stated bound of what the teacher said; those of another teacher are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kdcache.data.agreement import Agreement, AgreementReport, agreement
from kdcache.errors import ManifestMismatchError
from kdcache.logits import TopKLogits, all_classes, top_k
from kdcache.store.encoding import decode, encode
from kdcache.store.manifest import Encoding
from tests.support.stores import make_teacher

ENCODINGS: tuple[Encoding, ...] = ("gap8", "dense8", "float32", "hard")
C = 40


def logits(seed: int, spread: float = 3.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(C).astype(np.float32).astype(np.float64) * spread


def stored(logits_C: NDArray[np.float64], encoding: Encoding) -> TopKLogits:
    entry = make_teacher(encoding=encoding, num_classes=C)
    logits_1C = logits_C.astype(np.float32)[None]
    is_dense = encoding in {"dense8", "float32"}
    cut = all_classes(logits_1C) if is_dense else top_k(logits_1C, entry.top_k)
    planes = encode(cut, encoding=encoding, top_k=entry.top_k)
    return decode(planes, encoding=encoding, top_k=entry.top_k, num_classes=C)


def compared(now_C: NDArray[np.float64], before_C: NDArray[np.float64], encoding: Encoding) -> Agreement:
    return agreement(now_C, stored(before_C, encoding), make_teacher(encoding=encoding, num_classes=C))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spread=st.floats(0.01, 12),
    shift=st.floats(-8, 8),
    encoding=st.sampled_from(ENCODINGS),
)
def test_the_same_teacher_is_always_within_the_bound(
    seed: int, spread: float, shift: float, encoding: Encoding
) -> None:
    logits_C = logits(seed, spread) + shift
    assert compared(logits_C, logits_C, encoding).is_within


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), encoding=st.sampled_from(ENCODINGS))
def test_the_arithmetic_of_another_machine_is_within_the_bound(seed: int, encoding: Encoding) -> None:
    now_C = logits(seed) + np.random.default_rng(seed + 1).uniform(-1 / 64, 1 / 64, C)
    assert compared(now_C, logits(seed), encoding).is_within


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_teacher_is_not(encoding: Encoding) -> None:
    assert not any(compared(logits(seed + 1), logits(seed), encoding).is_within for seed in range(0, 40, 2))


def test_kl_is_that_of_the_kept_classes_and_the_tail() -> None:
    now_C, before_C = logits(1), logits(2)
    cut = top_k(before_C.astype(np.float32)[None], 5)
    assert cut.class_ids_NK is not None
    ids = cut.class_ids_NK[0]
    p_C, q_C = (np.exp(x) / np.exp(x).sum() for x in (now_C, before_C))
    p, q = (np.append(x[ids], 1 - x[ids].sum()) for x in (p_C, q_C))
    found = agreement(now_C, cut, make_teacher(num_classes=C))
    assert found.kl == pytest.approx((p * np.log(p / q)).sum(), rel=1e-5)


def test_the_bound_of_gap8_is_the_documented_one() -> None:
    assert compared(logits(1), logits(1), "gap8").bound == pytest.approx(
        (1 / 32 + 1 / 128 + 1 / 64) ** 2 / 2, abs=1e-5
    )


def test_classes_at_minus_infinity_stay_impossible() -> None:
    logits_C = logits(3)
    logits_C[::2] = -np.inf
    for encoding in ENCODINGS:
        assert compared(logits_C, logits_C, encoding).is_within
    assert compared(logits(3), logits_C, "float32").kl == np.inf


def test_two_best_classes_within_the_error_are_a_tie() -> None:
    before_C, now_C = np.zeros(C), np.zeros(C)
    before_C[[4, 9]], now_C[[4, 9]] = (8.01, 8.0), (8.0, 8.01)
    found = compared(now_C, before_C, "gap8")
    assert (found.is_top1_equal, found.is_top1_tie, found.is_within) == (False, True, True)


def test_the_report_names_the_worst_view_and_refuses_what_is_beyond() -> None:
    report = AgreementReport("cnn", "gap8")
    report.add(Agreement(0.0001, 0.001, is_top1_equal=True), "'a' under aug_seed 0")
    report.demand_agreement("cache.zarr")
    report.add(Agreement(0.5, 0.001, is_top1_equal=False), "'b' under aug_seed 3")
    assert "top-1 agrees on 50.00%" in report.summary()
    with pytest.raises(
        ManifestMismatchError, match=r"1 of 2 views have other targets .* 0\.5 at worst \('b' under"
    ):
        report.demand_agreement("cache.zarr")
