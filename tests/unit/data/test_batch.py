"""A batch is a type that moves as a whole."""

import numpy as np
import pytest
import torch

from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError
from kdcache.logits import all_classes
from kdcache.losses.targets import TeacherTargets


def batch_of(*teachers: str, mixed: bool = True) -> DistillBatch:
    logits_NC = np.arange(8, dtype=np.float32).reshape(2, 4)
    return DistillBatch(
        images_B3HW=torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        labels_B=torch.tensor([1, -1]),
        teachers={name: TeacherTargets.from_numpy(all_classes(logits_NC)) for name in teachers},
        keys=("a", "b"),
        aug_seeds_B=torch.tensor([0, 3]),
        lam_B=torch.ones(2) if mixed else None,
        partner_labels_B=torch.tensor([-1, -1]) if mixed else None,
        num_checked=2,
        features={"cnn": torch.zeros(2, 5, dtype=torch.float16)},
    )


def test_the_only_teacher_needs_no_name() -> None:
    batch = batch_of("cnn")
    assert batch.teacher is batch.teachers["cnn"]
    assert len(batch) == 2


@pytest.mark.parametrize("teachers", [(), ("a", "b")])
def test_none_or_several_teachers_must_be_named(teachers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=rf"targets of {len(teachers)} teachers .*batch\.teachers\["):
        _ = batch_of(*teachers).teacher


@pytest.mark.parametrize("mixed", [False, True])
def test_a_batch_moves_as_a_whole(mixed: bool) -> None:
    moved = batch_of("cnn", mixed=mixed).to("meta")
    tensors = [moved.images_B3HW, moved.labels_B, moved.aug_seeds_B, moved.teacher.logits_BK]
    tensors += moved.features.values()
    tensors += [t for t in (moved.lam_B, moved.partner_labels_B) if t is not None]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.keys, moved.num_checked, moved.lam_B is not None) == (("a", "b"), 2, mixed)
