"""The head planes: 1/256 nat, clipped, with a sentinel for no tail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdcache.logits import Float32, TopKLogits
from kdcache.store.head import decode_head, encode_head

DTYPES = [np.dtype("uint16"), np.dtype("uint32")]
VALUES = arrays(np.float32, (6, 4), elements=st.floats(-300, 300, width=32))


def cut_with(values_6N: Float32) -> TopKLogits:
    num_rows = values_6N.shape[1]
    return TopKLogits(
        np.zeros((num_rows, 1), dtype=np.int32),
        values_6N[:1].T,
        values_6N[0],
        values_6N[1:4].T,
        values_6N[4],
        values_6N[5],
        2,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@given(values_6N=VALUES)
def test_values_come_back_to_half_a_step_or_clipped(values_6N: Float32, dtype: np.dtype[np.uint16]) -> None:
    found_6N = decode_head(encode_head(cut_with(values_6N), dtype))
    limit = 32_767 / 256
    np.testing.assert_allclose(found_6N, np.clip(values_6N, -limit, limit), atol=1 / 512 + 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_tail_has_a_sentinel_of_its_own(dtype: np.dtype[np.uint16]) -> None:
    values_6N = np.array([[1], [-np.inf], [-1000], [-128], [0], [0]], dtype=np.float32)
    found = decode_head(encode_head(cut_with(values_6N), dtype))[:, 0].tolist()
    assert found[1:4] == [-np.inf, -32_767 / 256, -32_767 / 256]


def test_the_planes_are_twos_complement() -> None:
    values_6N = np.array([[-1 / 256], [0], [1 / 256], [-np.inf], [-2], [2]], dtype=np.float32)
    head = encode_head(cut_with(values_6N), np.dtype("uint16"))
    assert head[:, 0].tolist() == [0xFFFF, 0, 1, 0x8000, 0xFE00, 0x0200]
    assert encode_head(cut_with(values_6N), np.dtype("uint32"))[0, 0] == 0xFFFFFFFF
