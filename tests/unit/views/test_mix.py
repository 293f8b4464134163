from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data import mixup

from kdcache.config.views import ViewPolicy
from kdcache.keys import random_for
from kdcache.views.mix import MATCH_WINDOW, ONE, MixParams, match_window, mix_params, mix_views
from kdcache.views.params import MixStream
from tests.support.images import picture

BOTH = ViewPolicy.named("rrc", mixing={})
MIXUP = ViewPolicy.named("rrc", mixing={"cutmix_alpha": 0.0})
CUTMIX = ViewPolicy.named("rrc", mixing={"mixup_alpha": 0.0})


@given(key=st.text(max_size=12), aug_seed=st.integers(0, 2**40), num_rows=st.integers(0, MATCH_WINDOW))
def test_a_window_is_perfectly_matched(key: str, aug_seed: int, num_rows: int) -> None:
    partners = match_window(key, aug_seed, num_rows)
    rows = np.arange(num_rows)
    assert partners.dtype == np.int64
    assert np.array_equal(partners[partners], rows)
    assert np.count_nonzero(partners == rows) == num_rows % 2


@given(key=st.text(max_size=12), group=st.integers(0, 2**38))
def test_four_seeds_share_a_matching(key: str, group: int) -> None:
    first = match_window(key, 4 * group, 64)
    assert all(np.array_equal(first, match_window(key, 4 * group + i, 64)) for i in range(4))


def test_other_groups_and_windows_are_matched_anew() -> None:
    matchings = {match_window(key, seed, 64).tobytes() for key in ("a", "b") for seed in (0, 4, 8)}
    assert len(matchings) == 6


def test_every_partner_is_equally_likely() -> None:
    counts = Counter(int(match_window(str(n), 0, 8)[3]) for n in range(7000))
    assert set(counts) == {0, 1, 2, 4, 5, 6, 7}
    assert all(count == pytest.approx(1000, rel=0.12) for count in counts.values())


def test_no_mixing_section_means_no_mixing() -> None:
    assert mix_params("a", 0, ViewPolicy.named("deit")) == MixParams(lam_q=ONE, box=None)


@given(key=st.text(max_size=12), aug_seed=st.integers(0, 2**40))
def test_lambda_of_cutmix_is_the_area_that_is_left(key: str, aug_seed: int) -> None:
    policy = ViewPolicy.named("rrc", size=(30, 41), mixing={"mixup_alpha": 0.0})
    params = mix_params(key, aug_seed, policy)
    area = 0
    if params.box is not None:
        left, top, right, bottom = params.box
        assert 0 <= left < right <= 41
        assert 0 <= top < bottom <= 30
        area = (right - left) * (bottom - top)
    assert abs(params.lam - (1 - area / (30 * 41))) <= 0.5 / ONE


@given(aug_seed=st.integers(0, 2**40))
def test_the_box_of_cutmix_is_timms_from_the_same_numbers(aug_seed: int) -> None:
    rng = random_for("mix", "key", aug_seed)
    lam, words = rng.words(MixStream.LAMBDA, 64).beta(1.0), rng.words(MixStream.BOX, 2)

    def randint(low: int, high: int, size: Any = None) -> int:
        return low + words.integer(high - low)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timm.data.mixup.np.random.randint", randint)
        top, bottom, left, right = mixup.rand_bbox((3, 224, 224), lam)
    params = mix_params("key", aug_seed, CUTMIX)
    if (bottom - top) * (right - left) > 0:
        assert params.box == (left, top, right, bottom)
    else:
        assert params == MixParams()


def test_mixup_draws_lambda_from_its_beta_distribution() -> None:
    lams = np.array([mix_params(str(n), 0, MIXUP).lam for n in range(6000)])
    assert lams.mean() == pytest.approx(0.5, abs=0.02)
    assert lams.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.05)
    assert all(mix_params(str(n), 0, MIXUP).box is None for n in range(50))


def test_both_kinds_share_by_the_switch_probability() -> None:
    policy = ViewPolicy.named("rrc", mixing={"switch_prob": 0.3, "prob": 0.9})
    drawn = [mix_params(str(n), 1, policy) for n in range(6000)]
    unmixed = np.mean([params == MixParams() for params in drawn])
    cutmix = np.mean([params.box is not None for params in drawn])
    assert unmixed == pytest.approx(0.1, abs=0.015)
    assert cutmix == pytest.approx(0.27, abs=0.02)


@given(lam_q=st.integers(0, ONE), own=st.integers(0, 255), partner=st.integers(0, 255))
def test_mixup_rounds_as_format_1_says(lam_q: int, own: int, partner: int) -> None:
    own_3HW, partner_3HW = np.full((3, 1, 1), own, np.uint8), np.full((3, 1, 1), partner, np.uint8)
    mixed = mix_views(own_3HW, partner_3HW, MixParams(lam_q=lam_q))
    assert mixed.dtype == np.uint8
    assert (mixed == (own * lam_q + partner * (ONE - lam_q) + 32768) >> 16).all()


def test_cutmix_pastes_the_partners_box() -> None:
    own, partner = (np.asarray(picture(seed=seed)).transpose(2, 0, 1) for seed in (0, 1))
    params = MixParams(lam_q=ONE // 2, box=(3, 4, 20, 30))
    mixed = mix_views(own, partner, params)
    assert np.array_equal(mixed[:, 4:30, 3:20], partner[:, 4:30, 3:20])
    mixed[:, 4:30, 3:20] = own[:, 4:30, 3:20]
    assert np.array_equal(mixed, own)


@given(aug_seed=st.integers(0, 2**40))
def test_mixing_changes_neither_view(aug_seed: int) -> None:
    own, partner = (np.asarray(picture(seed=seed)).transpose(2, 0, 1).copy() for seed in (0, 1))
    before = own.tobytes(), partner.tobytes()
    policy = ViewPolicy.named("rrc", size=(48, 64), mixing={"prob": 0.8})
    mixed = mix_views(own, partner, mix_params("a", aug_seed, policy))
    assert not np.shares_memory(mixed, own)
    assert (own.tobytes(), partner.tobytes()) == before


def test_lambda_is_exact_in_float32() -> None:
    assert all(float(np.float32(MixParams(lam_q=q).lam)) == q / ONE for q in range(0, ONE + 1, 7))


def test_rows_keep_their_own_share_on_both_sides_of_a_pair() -> None:
    dark, bright = np.zeros((3, 2, 2), np.uint8), np.full((3, 2, 2), 200, np.uint8)
    params = MixParams(lam_q=ONE * 3 // 4)
    assert mix_views(dark, bright, params).max() == 50
    assert mix_views(bright, dark, params).min() == 150
