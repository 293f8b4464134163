"""A smaller K out of stored planes, against the cut of the logits themselves."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.logits import Float32, all_classes, top_k
from kdcache.recast.fewer import fewer_classes
from kdcache.store.encoding import encode
from kdcache.store.gap8 import count_saturated
from kdcache.store.head import Planes
from kdcache.store.manifest import Encoding, TeacherIdentity
from tests.support.stores import make_teacher

CLASSES = 60
TAIL = slice(-4, None)


def _logits(rows: int = 400) -> Float32:
    rng = np.random.default_rng(3)
    logits_NC = (rng.standard_normal((rows, CLASSES)) * rng.uniform(0.5, 5.0, (rows, 1))).astype(np.float32)
    logits_NC[:40] = np.round(logits_NC[:40])  # ties
    logits_NC[40:60, 7:] = -np.inf  # few classes
    return logits_NC


def _stored(logits_NC: Float32, encoding: Encoding, k: int) -> tuple[Planes, TeacherIdentity]:
    cut = all_classes(logits_NC) if encoding == "float32" else top_k(logits_NC, k)
    entry = make_teacher(encoding=encoding, top_k=k, num_classes=CLASSES)
    return encode(cut, encoding=encoding, top_k=entry.top_k), entry


def _tails(planes_PN: Planes) -> NDArray[np.int64]:
    return planes_PN[TAIL].view(np.int16).astype(np.int64)


@pytest.mark.parametrize(("before", "after"), [(50, 10), (16, 15), (20, 1), (8, 7)])
def test_of_gap8_all_but_the_tail_is_exact_and_the_tail_within_its_bound(before: int, after: int) -> None:
    logits_NC = _logits()
    planes_PN, entry = _stored(logits_NC, "gap8", before)
    fewer_PN, saturated = fewer_classes(planes_PN, entry, after)
    wanted_PN = encode(top_k(logits_NC, after), encoding="gap8", top_k=after)
    np.testing.assert_array_equal(fewer_PN[:-4], wanted_PN[:-4])
    assert np.abs(_tails(fewer_PN) - _tails(wanted_PN)).max() <= 3
    assert saturated == count_saturated(top_k(logits_NC, after)) == 0


@pytest.mark.parametrize("after", [1, 10, 59])
def test_of_float32_every_plane_is_that_of_the_cut(after: int) -> None:
    logits_NC = _logits()
    planes_PN, entry = _stored(logits_NC, "float32", CLASSES)
    fewer_PN, saturated = fewer_classes(planes_PN, entry, after)
    np.testing.assert_array_equal(fewer_PN, encode(top_k(logits_NC, after), encoding="gap8", top_k=after))
    assert saturated == count_saturated(top_k(logits_NC, after))


@pytest.mark.parametrize("encoding", ["gap8", "float32"])
def test_rows_without_targets_stay_without(encoding: Encoding) -> None:
    planes_PN, entry = _stored(_logits(4), encoding, 12)
    planes_PN[:, 1] = np.iinfo(planes_PN.dtype).max
    fewer_PN, _ = fewer_classes(planes_PN, entry, 5)
    assert (fewer_PN == 0xFFFF).all(axis=0).tolist() == [False, True, False, False]
    planes_PN[:] = np.iinfo(planes_PN.dtype).max
    assert (fewer_classes(planes_PN, entry, 5)[0] == 0xFFFF).all()


def test_saturated_rows_are_counted_among_the_kept_gaps() -> None:
    logits_NC = np.zeros((2, CLASSES), dtype=np.float32)
    logits_NC[:, 0], logits_NC[1, 1:4], logits_NC[0, 1:20] = 100.0, 99.0, 50.0
    planes_PN, entry = _stored(logits_NC, "gap8", 12)
    assert fewer_classes(planes_PN, entry, 3)[1] == 1
    assert fewer_classes(planes_PN, entry, 6)[1] == 2
