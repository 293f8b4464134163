"""Embeddings in float16 planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.errors import CorruptChunkError
from kdcache.store.features import LARGEST_FEATURE, decode_features, encode_features


@given(
    seed=st.integers(0, 1000), rows=st.integers(1, 9), width=st.integers(1, 70), scale=st.floats(1e-3, 1e4)
)
def test_decoding_gives_back_what_was_encoded_in_float16(
    seed: int, rows: int, width: int, scale: float
) -> None:
    features_ND = (np.random.default_rng(seed).standard_normal((rows, width)) * scale).astype(np.float32)
    features_ND = features_ND.clip(-LARGEST_FEATURE, LARGEST_FEATURE)
    planes_DN = encode_features(features_ND)
    assert (planes_DN.shape, planes_DN.dtype.name) == ((width, rows), "uint16")
    found_ND = decode_features(planes_DN, num_features=width)
    np.testing.assert_array_equal(found_ND, features_ND.astype(np.float16))
    np.testing.assert_allclose(found_ND, features_ND, rtol=2**-11, atol=2**-25)


def test_the_fill_reads_as_nan() -> None:
    assert np.isnan(decode_features(np.full((3, 2), 0xFFFF, dtype=np.uint16), num_features=3)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65_505.0, -70_000.0])
def test_what_float16_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a feature is NaN, or not within"):
        encode_features(np.array([[0.0, value]], dtype=np.float32))


@pytest.mark.parametrize(("planes", "dtype"), [(4, np.uint16), (3, np.uint32)])
def test_planes_of_another_shape_are_damage(planes: int, dtype: type) -> None:
    with pytest.raises(CorruptChunkError, match=f"{planes} planes of uint"):
        decode_features(np.zeros((planes, 2), dtype=dtype), num_features=3)
