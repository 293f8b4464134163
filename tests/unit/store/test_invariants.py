"""What every stored view must fulfil is checked to the last plane."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kdcache.errors import CorruptChunkError
from kdcache.logits import all_classes, top_k
from kdcache.store.encoding import encode
from kdcache.store.features import encode_features
from kdcache.store.head import Planes
from kdcache.store.invariants import check_planes, has_targets
from kdcache.store.manifest import TeacherIdentity
from tests.support.stores import features_entry, make_teacher

LOGITS = np.array([[5, 4, 3, 2, -np.inf], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]], dtype=np.float32)


def teacher_of(encoding: Any) -> TeacherIdentity:
    return make_teacher(encoding=encoding, top_k=3, num_classes=5)


def planes_of(encoding: Any) -> Planes:
    teacher = teacher_of(encoding)
    is_dense = encoding in {"dense8", "float32"}
    cut = all_classes(LOGITS) if is_dense else top_k(LOGITS, teacher.top_k)
    planes = encode(cut, encoding=encoding, top_k=teacher.top_k)
    planes[:, 2] = 0xFFFF
    return planes


@pytest.mark.parametrize("encoding", ["gap8", "dense8", "float32", "hard"])
def test_what_encode_writes_is_right(encoding: Any) -> None:
    check_planes(planes_of(encoding), teacher_of(encoding))
    assert has_targets(planes_of(encoding)).tolist() == [True, True, False]


def put(*cells: tuple[int, int, int]) -> Callable[[Planes], None]:
    def change(planes: Planes) -> None:
        for plane, row, value in cells:
            planes[plane, row] = value

    return change


@pytest.mark.parametrize(
    ("encoding", "change", "message"),
    [
        ("gap8", put((4, 2, 0)), "row 2: a row without targets has a plane that is not the fill"),
        ("gap8", put((1, 1, 0xFFFF), (3, 1, 255)), "row 1: a class follows a missing one"),
        ("gap8", put((2, 1, 0xFFFF)), "row 1: a gap of 255 has a class"),
        ("gap8", put((1, 1, 4)), "row 1: a class id is there twice"),
        ("gap8", put((1, 1, 5)), "a class id is not below 5"),
        ("gap8", put((8, 1, 1)), "row 1: the tail's mean logit is above the best one"),
        ("gap8", put((9, 1, 0xFFF0)), "row 1: the standard deviation is negative"),
        ("gap8", put((5, 1, 0x8000)), "row 1: a head value is out of range"),
        ("gap8", put((6, 1, 3)), "row 1: more than 2 classes were cut off"),
        ("gap8", put((2, 0, 0xFFFF), (4, 0, 255)), "row 0: classes are missing, yet some were cut off"),
        ("hard", put((0, 0, 5)), "a class id is not below 5"),
        ("dense8", put((0, 0, 256)), "row 0: a class has more than 255 steps"),
        ("dense8", put((0, 0, 1)), "row 0: no class is the best"),
        ("dense8", put((5, 0, 0x7F80), (6, 0, 0)), "row 0: the step is not a finite number"),
        ("dense8", put((9, 0, 1)), "row 0: no class was cut off, yet there is a tail"),
        ("float32", put((2, 1, 0x7FC0)), "row 1: a logit is NaN or"),
        (
            "float32",
            put(*[(2 * c, 1, 0xFF80) for c in range(5)], *[(2 * c + 1, 1, 0) for c in range(5)]),
            "row 1: no logit is finite",
        ),
    ],
)
def test_each_broken_rule_is_found(encoding: Any, change: Callable[[Planes], None], message: str) -> None:
    planes = planes_of(encoding)
    change(planes)
    with pytest.raises(CorruptChunkError, match=message):
        check_planes(planes, teacher_of(encoding))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put((2, 1, 0x7C00)), "row 1: a feature is NaN or infinite"),
        (put((4, 1, 0x7E00)), "row 1: a feature is NaN or infinite"),
        (put((4, 2, 0)), "row 2: a row without targets has a plane that is not the fill"),
    ],
)
def test_features_are_finite_or_not_there(change: Callable[[Planes], None], message: str) -> None:
    planes = encode_features(LOGITS[[1, 1, 1]])
    planes[:, 2] = 0xFFFF
    entry = features_entry(make_teacher(), "cnn", num_features=5)
    check_planes(planes, entry)
    change(planes)
    with pytest.raises(CorruptChunkError, match=message):
        check_planes(planes, entry)
