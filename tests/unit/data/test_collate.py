"""Joined samples become one batch."""

import numpy as np
import pytest
import torch

from kdcache.data.collate import collate_joined
from kdcache.logits import TopKLogits, all_classes, top_k

LOGITS_NC = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


@pytest.mark.parametrize("cut", [top_k(LOGITS_NC, 2), all_classes(LOGITS_NC)], ids=["top-k", "dense"])
def test_rows_of_every_teacher_stay_with_their_sample(cut: TopKLogits) -> None:
    samples = [
        {
            "__key__": f"s{row}",
            "image": torch.full((3, 2, 2), row, dtype=torch.uint8),
            "label": row - 1,
            "aug_seed": 7 + row,
            "targets": {"a": cut.take([row]), "b": cut.take([2 - row])},
        }
        for row in range(3)
    ]
    batch = collate_joined(samples)
    assert batch.keys == ("s0", "s1", "s2")
    assert batch.images_B3HW[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.labels_B.tolist() == [-1, 0, 1]
    assert batch.aug_seeds_B.tolist() == [7, 8, 9]
    assert np.array_equal(batch.teachers["a"].logits_BK.numpy(), cut.logits_NK)
    assert torch.equal(batch.teachers["b"].top_class_B, batch.teachers["a"].top_class_B.flip(0))
    assert batch.teachers["a"].num_classes == 6
