"""What a teacher says, as planes; and what is wrong with it."""

import numpy as np
import pytest

from kdcache.logits import Float32, all_classes, top_k
from kdcache.precompute.encoded_rows import EncodedRows, complaint_about
from kdcache.store.features import decode_features
from tests.support.stores import features_entry, make_teacher

LOGITS = np.array([[1, 3, 2], [5, 4, 6], [9, 8, 7]], dtype=np.float32)
OK = np.array([True, False, True])


@pytest.mark.parametrize("kept", [2, 3])
def test_logits_come_with_their_best_class(kept: int) -> None:
    entry = make_teacher(encoding="gap8" if kept < 3 else "dense8", top_k=kept, num_classes=3)
    cut = top_k(LOGITS, kept) if kept < 3 else all_classes(LOGITS)
    encoded = EncodedRows.of(cut, OK, entry)
    assert encoded.best_B is not None
    assert encoded.best_B.tolist() == [1, 0]
    assert encoded.planes_PB.shape == (entry.num_planes, 2)


def test_features_come_without() -> None:
    encoded = EncodedRows.of(LOGITS, OK, features_entry(make_teacher(), "cnn", num_features=3))
    assert (encoded.best_B, encoded.saturated) == (None, 0)
    np.testing.assert_array_equal(decode_features(encoded.planes_PB, num_features=3), LOGITS[OK])


def _features(value: float, row: int) -> Float32:
    features_BD = LOGITS.copy()
    features_BD[row, 1] = value
    return features_BD


@pytest.mark.parametrize(
    ("value", "problem", "remedy"),
    [
        (np.nan, "NaN or infinite features", "--precision bfloat16"),
        (-np.inf, "NaN or infinite features", "--precision bfloat16"),
        (-65_536.0, r"a feature of +-65536", "leave out --store-features"),
    ],
)
def test_features_that_float16_cannot_hold_are_complained_about(
    value: float, problem: str, remedy: str
) -> None:
    complaint = complaint_about(_features(value, 2), OK)
    assert complaint is not None
    assert (complaint.rows_B.tolist(), complaint.problem) == ([2], problem)
    assert remedy in complaint.remedy


@pytest.mark.parametrize("value", [np.nan, 1e9])
def test_what_comes_of_a_bad_sample_does_not_matter(value: float) -> None:
    assert complaint_about(_features(value, 1), OK) is None


def test_the_largest_float16_is_kept() -> None:
    assert complaint_about(_features(-65_504.0, 0), OK) is None
