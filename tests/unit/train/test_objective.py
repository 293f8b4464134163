"""Which loss weighs how much on which head follows from the settings and the student."""

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from kdcache.config.train import TrainConfig
from kdcache.config.train_losses import WITHOUT_TEMPERATURE, DistillLossName
from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError, ShardError
from kdcache.logits import all_classes, top_k
from kdcache.losses import TeacherTargets, hard, kl
from kdcache.losses.registry import DISTILL_LOSSES
from kdcache.train.objective import Objective
from kdcache_cli.train_options import DISTILL_LOSSES as FLAGS

LOGITS_NC = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
CLASS_BC, DISTILL_BC = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))


def _objective(*, token: bool = False, **fields: Any) -> Objective:
    needed = {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o"}
    config = TrainConfig.parse(needed | fields, where="test")
    return Objective.of(config, teachers=config.teacher or ("t",), has_distillation_head=token)


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


def test_the_losses_of_several_teachers_are_weighed_and_sum_to_one() -> None:
    other_NC = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    both = {
        name: TeacherTargets.from_numpy(all_classes(cut)) for name, cut in (("a", LOGITS_NC), ("b", other_NC))
    }
    batch = dataclasses.replace(_batch([0, 1, 2, 3]), teachers=both)
    losses = _objective(teacher=["a", "b"], teacher_weights=[1, 3])(CLASS_BC, batch)
    expected = 0.25 * kl(CLASS_BC, both["a"]) + 0.75 * kl(CLASS_BC, both["b"])
    torch.testing.assert_close(losses.total, expected)


def test_at_one_temperature_several_teachers_pull_as_their_mixture_does() -> None:
    other_NC = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    both = {
        name: TeacherTargets.from_numpy(all_classes(cut)) for name, cut in (("a", LOGITS_NC), ("b", other_NC))
    }
    student_BC = CLASS_BC.clone().requires_grad_()
    losses = _objective(teacher=["a", "b"])(student_BC, dataclasses.replace(_batch([0] * 4), teachers=both))
    (found_BC,) = torch.autograd.grad(losses.total, student_BC)
    mixture_BC = (torch.tensor(LOGITS_NC).softmax(1) + torch.tensor(other_NC).softmax(1)) / 2
    (expected_BC,) = torch.autograd.grad(cross_entropy(student_BC, mixture_BC), student_BC)
    torch.testing.assert_close(found_BC, expected_BC)


def test_weights_and_temperature_move_over_the_run() -> None:
    batch = _batch([0, 1, 2, 3])
    objective = _objective(
        task_loss_weight=0,
        task_loss_weight_end=1,
        distill_loss_weight_end=0,
        temperature=4,
        temperature_end=1,
    )
    task = cross_entropy(CLASS_BC, torch.arange(4))
    torch.testing.assert_close(objective(CLASS_BC, batch).total, kl(CLASS_BC, batch.teacher, temperature=4.0))
    torch.testing.assert_close(
        objective(CLASS_BC, batch, progress=0.5).total,
        0.5 * task + 0.5 * kl(CLASS_BC, batch.teacher, temperature=2.5),
    )
    torch.testing.assert_close(objective(CLASS_BC, batch, progress=1.0).total, task)


def test_what_a_loss_refuses_is_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="tail 'drop' has no meaning for distill loss 'jsd'"):
        _objective(distill_loss="jsd", tail="drop").try_out(TeacherTargets.from_numpy(top_k(LOGITS_NC, 3)))


@pytest.mark.parametrize("name", list(DISTILL_LOSSES))
def test_every_loss_can_be_chosen(name: str) -> None:
    losses = _objective(distill_loss=name)(CLASS_BC, _batch([0, 1, -1, 3]))
    assert torch.isfinite(losses.total)


def test_settings_flags_and_losses_know_the_same_names() -> None:
    assert set(get_args(DistillLossName)) == set(DISTILL_LOSSES) == set(FLAGS)
    assert {name for name, loss in DISTILL_LOSSES.items() if not loss.softens} == WITHOUT_TEMPERATURE
