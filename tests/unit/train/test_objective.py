"""Which loss weighs how much on which head follows from the settings and the student."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from kdcache.config.train import TrainConfig
from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError, ShardError
from kdcache.logits import top_k
from kdcache.losses import TeacherTargets, hard, kl
from kdcache.train.objective import Objective

LOGITS_NC = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
CLASS_BC, DISTILL_BC = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))


def _objective(*, token: bool = False, **fields: Any) -> Objective:
    needed = {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o"}
    return Objective.of(TrainConfig.parse(needed | fields, where="test"), has_distillation_head=token)


def _batch(labels: list[int], *, with_targets: bool = True) -> DistillBatch:
    targets = {"t": TeacherTargets.from_numpy(top_k(LOGITS_NC, 3))} if with_targets else {}
    return DistillBatch(
        images_B3HW=torch.zeros(4, 3, 2, 2, dtype=torch.uint8),
        labels_B=torch.tensor(labels),
        teachers=targets,
        keys=("a", "b", "c", "d"),
        aug_seeds_B=torch.zeros(4, dtype=torch.int64),
    )


def test_a_plain_student_learns_from_the_teacher_alone_by_default() -> None:
    batch = _batch([0, 1, 2, 3])
    losses = _objective(temperature=2.0)(CLASS_BC, batch)
    torch.testing.assert_close(losses.total, kl(CLASS_BC, batch.teacher, temperature=2.0))
    assert losses.task == 0


def test_a_distillation_token_gets_deits_recipe() -> None:
    batch = _batch([0, -1, 2, -1])
    losses = _objective(token=True)((CLASS_BC, DISTILL_BC), batch)
    expected = 0.5 * cross_entropy(CLASS_BC[[0, 2]], torch.tensor([0, 2])) + 0.5 * hard(
        DISTILL_BC, batch.teacher
    )
    torch.testing.assert_close(losses.total, expected)


def test_a_temperature_makes_the_token_learn_softly() -> None:
    assert _objective(token=True, temperature=3.0).distill_loss == "kl"
    assert _objective(token=True).distill_loss == "hard"


def test_given_weights_win() -> None:
    batch = _batch([0, 1, 2, 3])
    objective = _objective(task_loss_weight=0.3, distill_loss_weight=2.0, distill_loss="hard")
    losses = objective(CLASS_BC, batch)
    torch.testing.assert_close(losses.total, 0.3 * losses.task + 2.0 * losses.distill)


def test_labels_only_reads_no_targets_and_smooths() -> None:
    objective = _objective(task_loss_weight=1, distill_loss_weight=0, smoothing=0.1)
    losses = objective(CLASS_BC, _batch([0, 1, 2, 3], with_targets=False))
    expected = cross_entropy(CLASS_BC, torch.arange(4), label_smoothing=0.1)
    torch.testing.assert_close(losses.total, expected)
    assert not objective.needs_targets


@pytest.mark.parametrize(
    ("fields", "separates"),
    [({}, True), ({"task_loss_weight": 0}, False), ({"distill_loss_weight": 0}, False)],
)
def test_heads_are_separate_only_where_each_has_a_loss(fields: dict[str, Any], *, separates: bool) -> None:
    assert _objective(token=True, **fields).separates_heads is separates


def test_a_plain_student_without_any_loss_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"both 0.*labels only is --task-loss-weight 1"):
        _objective(distill_loss_weight=0)


def test_a_sample_without_label_is_refused_where_labels_are_all_there_is() -> None:
    objective = _objective(task_loss_weight=1, distill_loss_weight=0)
    with pytest.raises(
        ShardError, match=r"sample 'b' has no label \(2 of 4 in its batch\).*leave out the shards"
    ):
        objective.check(_batch([0, -1, 2, -1], with_targets=False))
    _objective().check(_batch([0, -1, 2, -1]))
