"""The head planes: 1/16 and 1/64 nat, clipped, and a number of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdcache.errors import CorruptChunkError
from kdcache.logits import Float32, TopKLogits
from kdcache.store.head import check_head, decode_head, encode_head

DTYPES = [np.dtype("uint16"), np.dtype("uint32")]
VALUES = arrays(np.float32, (6, 4), elements=st.floats(-600, 600, width=32))
LIMITS_61 = np.array([32_767 / 16] + [32_767 / 64] * 5)[:, None]


def cut_with(values_6N: Float32) -> TopKLogits:
    num_rows = values_6N.shape[1]
    return TopKLogits(
        np.zeros((num_rows, 1), dtype=np.int32), values_6N[:1].T, values_6N[0], values_6N[1:].T, 70_000
    )


def column(*values: float) -> Float32:
    return np.array(values, dtype=np.float32)[:, None]


@pytest.mark.parametrize("dtype", DTYPES)
@given(values_6N=VALUES, count=st.integers(1, 60_000))
def test_values_come_back_to_half_a_step_or_clipped(
    values_6N: Float32, count: int, dtype: np.dtype[np.uint16]
) -> None:
    values_6N[1] = count
    found_6N = decode_head(encode_head(cut_with(values_6N), dtype))
    wanted_6N = np.clip(values_6N, -LIMITS_61, LIMITS_61)
    wanted_6N[1] = count
    np.testing.assert_allclose(found_6N[0], wanted_6N[0], atol=1 / 32 + 1e-6)
    np.testing.assert_allclose(found_6N[1:], wanted_6N[1:], atol=1 / 128 + 1e-6)


def test_more_classes_than_16_bits_count_are_counted() -> None:
    values_6N = column(1, 69_999, -2, -3, 1, 0)
    assert decode_head(encode_head(cut_with(values_6N), np.dtype("uint32")))[1] == 69_999


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_tail_is_none_whatever_its_numbers_are(dtype: np.dtype[np.uint16]) -> None:
    head_6N = encode_head(cut_with(column(1, 0, -np.inf, 0, 0, 0)), dtype)
    assert head_6N[1:, 0].tolist() == [0, 0, 0, 0, 0]
    assert decode_head(head_6N)[:, 0].tolist() == [1, 0, -np.inf, 0, 0, 0]
    assert decode_head(encode_head(cut_with(column(1, 3, -1000, 0, 0, 0)), dtype))[2, 0] == -32_767 / 64


def test_the_planes_are_twos_complement() -> None:
    values_6N = column(-1 / 16, 3, 1 / 64, -2, 2, -1)
    head = encode_head(cut_with(values_6N), np.dtype("uint16"))
    assert head[:, 0].tolist() == [0xFFFF, 3, 1, 0xFF80, 0x0080, 0xFFC0]
    assert encode_head(cut_with(values_6N), np.dtype("uint32"))[0, 0] == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ((0x8000, 3, 1, 0, 1, 0), "a head value is out of range"),
        ((1, 4, 1, 0, 1, 0), "more than 3 classes were cut off"),
        ((1, 3, 1, 1, 1, 0), "the tail's mean logit is above the best one"),
        ((1, 3, 1, 0, 0xFFFF, 0), "the standard deviation is negative"),
        ((1, 0, 0, 0, 0, 1), "no class was cut off, yet there is a tail"),
    ],
)
def test_a_head_that_no_logits_have_is_refused(head: tuple[int, ...], message: str) -> None:
    head_6N = np.array([(1, 3, 1, 0, 1, 0), head], dtype=np.uint16).T.copy()
    with pytest.raises(CorruptChunkError, match=message):
        check_head(head_6N, np.zeros(2, dtype=bool), largest_tail=3)
    check_head(head_6N, np.array([False, True]), largest_tail=3)
