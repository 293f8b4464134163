"""Targets of several blocks in the order of a micro-batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kdcache.data.epoch_plan import MicroBatch
from kdcache.data.gather import gather_features, gather_targets
from kdcache.logits import TopKLogits, all_classes, top_k


def targets_of(block: int, aug_seed: int, *, dense: bool) -> TopKLogits:
    logits_NC = np.random.default_rng([block, aug_seed]).standard_normal((6, 9)).astype(np.float32)
    return all_classes(logits_NC) if dense else top_k(logits_NC, 3)


@pytest.mark.parametrize("dense", [False, True])
@given(
    places=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=12
    )
)
def test_each_row_has_the_targets_of_its_place(dense: bool, places: list[tuple[int, int, int]]) -> None:
    reads: list[tuple[int, int]] = []

    def read(block: int, aug_seed: int) -> TopKLogits:
        reads.append((block, aug_seed))
        return targets_of(block, aug_seed, dense=dense)

    places_B3 = np.array(places, dtype=np.int64)
    found = gather_targets(read, MicroBatch(places_B3[:, 0], places_B3[:, 1], places_B3[:, 2]))
    assert len(set(reads)) == len(reads)
    for i, (block, row, aug_seed) in enumerate(places):
        expected = targets_of(block, aug_seed, dense=dense).take([row])
        assert (found.logits_NK[i] == expected.logits_NK[0]).all()
        assert found.top1_N[i] == expected.top1_N[0]
        if not dense:
            assert found.class_ids_NK is not None
            assert expected.class_ids_NK is not None
            assert (found.class_ids_NK[i] == expected.class_ids_NK[0]).all()


@given(
    places=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=12
    )
)
def test_each_row_has_the_features_of_its_place(places: list[tuple[int, int, int]]) -> None:
    def read(block: int, aug_seed: int) -> NDArray[np.float16]:
        return (100 * block + 10 * aug_seed + np.arange(6)[:, None] + [0.0, 0.5]).astype(np.float16)

    places_B3 = np.array(places, dtype=np.int64)
    found_BD = gather_features(read, MicroBatch(places_B3[:, 0], places_B3[:, 1], places_B3[:, 2]))
    assert found_BD[:, 0].tolist() == [100 * block + 10 * seed + row for block, row, seed in places]
    assert (found_BD[:, 1] - found_BD[:, 0] == 0.5).all()
