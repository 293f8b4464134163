"""Random draws are part of format 1: these words must never change."""

import threading

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from kdcache.keys import Domain, ViewKey, random_for, view_rng

PINNED_WORDS = [0x1020C8089B2737A7, 0x534060BD9D7CB70F, 0x4959539566E76A04, 0x5ED2319934DB2575]
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SEEDS = st.integers(0, 2**32)


def test_the_first_words_of_a_view_are_pinned() -> None:
    assert view_rng(ViewKey("000001", 3)).raw(0, 4).tolist() == PINNED_WORDS


def test_the_key_is_the_xxh3_128_of_domain_key_and_number() -> None:
    value = xxhash.xxh3_128_intdigest(b"mix\0a/b\0" + (7).to_bytes(8, "little"))
    assert random_for("mix", "a/b", 7).key == (value & (2**64 - 1), value >> 64)


def philox_4x64_10(counter: list[int], key: tuple[int, int]) -> list[int]:
    """Repeat the generator from its paper (Salmon et al. 2011), as another language would."""
    mask = 2**64 - 1
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        product_0, product_1 = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = (
            (product_1 >> 64) ^ c1 ^ k0,
            product_1 & mask,
            (product_0 >> 64) ^ c3 ^ k1,
            product_0 & mask,
        )
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [c0, c1, c2, c3]


def test_the_stream_is_philox_from_counter_one_on() -> None:
    rng = view_rng(ViewKey("x", 1))
    expected = philox_4x64_10([1, 5, 0, 0], rng.key) + philox_4x64_10([2, 5, 0, 0], rng.key)
    assert rng.raw(5, 8).tolist() == expected


@given(key=KEYS, seed=SEEDS)
def test_view_rng_repeats_for_equal_keys(key: str, seed: int) -> None:
    first, again = view_rng(ViewKey(key, seed)), view_rng(ViewKey(key, seed))
    assert first.raw(2, 5).tolist() == again.raw(2, 5).tolist()


@given(key=KEYS, seed=SEEDS)
def test_a_longer_draw_begins_with_the_shorter_one(key: str, seed: int) -> None:
    rng = view_rng(ViewKey(key, seed))
    assert rng.raw(0, 10).tolist()[:3] == rng.raw(0, 3).tolist()


@pytest.mark.parametrize(
    ("domain", "key", "n", "op"),
    [("mix", "k", 1, 0), ("view", "l", 1, 0), ("view", "k", 2, 0), ("view", "k", 1, 1)],
)
def test_domain_key_number_and_op_each_change_the_stream(domain: Domain, key: str, n: int, op: int) -> None:
    assert random_for(domain, key, n).raw(op, 4).tolist() != random_for("view", "k", 1).raw(0, 4).tolist()


def test_streams_do_not_depend_on_the_thread_or_on_what_was_drawn_before() -> None:
    expected = view_rng(ViewKey("a", 0)).raw(0, 4).tolist()
    found: list[list[int]] = []

    def draw() -> None:
        view_rng(ViewKey("other", 9)).raw(3, 7)
        found.append(view_rng(ViewKey("a", 0)).raw(0, 4).tolist())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@given(seed=SEEDS, low=st.floats(-10, 10), width=st.floats(0.1, 10))
def test_uniform_stays_in_its_interval(seed: int, low: float, width: float) -> None:
    value = view_rng(ViewKey("u", seed)).words(0, 1).uniform(low, low + width)
    assert low <= value <= low + width


@given(seed=SEEDS, n=st.integers(1, 10**9))
def test_integer_stays_below_its_bound(seed: int, n: int) -> None:
    assert 0 <= view_rng(ViewKey("i", seed)).words(0, 1).integer(n) < n


def test_uniform_and_integer_are_the_documented_arithmetic() -> None:
    words = view_rng(ViewKey("a", 0)).words(0, 2)
    raw = view_rng(ViewKey("a", 0)).raw(0, 2).tolist()
    assert words.uniform() == (raw[0] >> 11) / 2**53
    assert words.integer(1000) == raw[1] * 1000 // 2**64


def test_normal_deviates_have_their_mean_and_deviation() -> None:
    words = view_rng(ViewKey("n", 0)).words(0, 4000)
    values = [words.normal(2.0, 3.0) for _ in range(4000)]
    assert np.mean(values) == pytest.approx(2.0, abs=0.2)
    assert np.std(values) == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_beta_deviates_have_the_moments_of_beta(alpha: float) -> None:
    values = [view_rng(ViewKey("b", seed)).words(0, 64).beta(alpha) for seed in range(2000)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    assert np.var(values) == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.015)


def test_drawing_more_words_than_asked_for_is_an_error() -> None:
    words = view_rng(ViewKey("a", 0)).words(0, 1)
    words.word()
    with pytest.raises(IndexError):
        words.word()
