"""The cached task gives what timm's own distillation tasks give with a live teacher on the same views."""

from typing import Any

import pytest
import timm
import torch
from timm.task import LogitDistillationTask, TokenDistillationTask
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdcache.data.batch import DistillBatch
from kdcache.errors import ConfigError
from kdcache.logits import all_classes, top_k
from kdcache.losses.targets import TeacherTargets
from kdcache.train.timm_task import CachedLogitTask
from tests.support.training import TINY_VIT

NUM_CLASSES = 10
IMAGES_B3HW = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(0))
LABELS_B = torch.tensor([0, 3, 9, 1, 1, 7])


def _model(name: str = "vit_tiny_patch16_224", *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name, num_classes=NUM_CLASSES, **TINY_VIT)
        for head in ("head", "head_dist"):
            if hasattr(model, head):
                nn.init.normal_(model.get_parameter(f"{head}.weight"), std=0.5)
    return model


TEACHER = _model(seed=1).eval()


def _batch(labels_B: Tensor = LABELS_B, *, kept: int | None = None, **changes: Any) -> DistillBatch:
    with torch.inference_mode():
        logits_BC = TEACHER(IMAGES_B3HW).numpy()
    cut = all_classes(logits_BC) if kept is None else top_k(logits_BC, kept)
    return DistillBatch(
        images_B3HW=torch.zeros(6, 3, 24, 24, dtype=torch.uint8),
        labels_B=labels_B,
        teachers={"vit": TeacherTargets.from_numpy(cut)},
        keys=tuple("abcdef"),
        aug_seeds_B=torch.zeros(6, dtype=torch.int64),
        **changes,
    )


def _assert_equal(cached: dict[str, Tensor], live: dict[str, Tensor]) -> None:
    assert cached["loss"].item() == pytest.approx(live["loss"].item(), abs=1e-5)
    live_kd = live.get("kd_loss", live.get("distill_loss"))
    assert live_kd is not None
    assert cached["kd_loss"].item() == pytest.approx(live_kd.item(), abs=1e-5)
    torch.testing.assert_close(cached["output"], live["output"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"task_loss_weight": 0.3, "temperature": 4.0},
        {"distill_loss_weight": 2.0, "temperature": 2.0},
        {"distill_loss_weight": 0.5, "task_loss_weight": 0.25},
    ],
)
def test_its_losses_are_those_of_timms_logit_distillation(settings: dict[str, Any]) -> None:
    student = _model()
    live = LogitDistillationTask(student, TEACHER, nn.CrossEntropyLoss(), **settings)
    cached = CachedLogitTask(student, **settings)
    _assert_equal(cached(IMAGES_B3HW, _batch()), live(IMAGES_B3HW, LABELS_B))


@pytest.mark.parametrize(("loss_type", "distill_type"), [("kl", "soft"), ("hard", "hard")])
def test_a_distillation_token_is_trained_as_by_timms_token_distillation(
    loss_type: Any, distill_type: str
) -> None:
    student: Any = _model("deit_tiny_distilled_patch16_224").train()
    student.pretrained_cfg = TEACHER.pretrained_cfg  # whose input is then not normalised anew
    live = TokenDistillationTask(student, TEACHER, nn.CrossEntropyLoss(), distill_type=distill_type)
    cached = CachedLogitTask(student, loss_type=loss_type)
    _assert_equal(cached(IMAGES_B3HW, _batch()), live(IMAGES_B3HW, LABELS_B))


def test_its_gradients_are_those_of_timms_logit_distillation() -> None:
    student = _model()
    parameters = list(student.parameters())
    live = LogitDistillationTask(student, TEACHER, nn.CrossEntropyLoss(), temperature=2.0)
    cached = CachedLogitTask(student, temperature=2.0)
    ours = torch.autograd.grad(cached(IMAGES_B3HW, _batch())["loss"], parameters)
    theirs = torch.autograd.grad(live(IMAGES_B3HW, LABELS_B)["loss"], parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("criterion", [None, nn.CrossEntropyLoss()])
def test_samples_without_a_label_count_for_the_teachers_loss_only(criterion: nn.Module | None) -> None:
    labels_B = torch.where(torch.arange(6) < 2, LABELS_B, -1)
    result = CachedLogitTask(_model(), criterion=criterion)(IMAGES_B3HW, _batch(labels_B))
    expected = cross_entropy(result["output"][:2], LABELS_B[:2])
    torch.testing.assert_close(result["task_loss"], expected)
    none = CachedLogitTask(_model(), criterion=criterion)(IMAGES_B3HW, _batch(torch.full((6,), -1)))
    assert none["task_loss"] == 0
    assert none["kd_loss"] > 0


def test_a_top_k_cache_serves_as_well() -> None:
    result = CachedLogitTask(_model(), temperature=2.0)(IMAGES_B3HW, _batch(kept=4))
    assert (
        0 < result["kd_loss"] < CachedLogitTask(_model(), temperature=2.0)(IMAGES_B3HW, _batch())["kd_loss"]
    )


def test_it_trains_with_timms_ema_and_checkpoint_state() -> None:
    task = CachedLogitTask(_model(), "vit")
    task.setup_ema(decay=0.5)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        loss = task(IMAGES_B3HW, _batch())["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.update_ema()
    assert losses[-1] < losses[0]
    assert set(task.get_checkpoint_state()["state_dict"]) == set(_model().state_dict())
    assert "state_dict_ema" in task.get_checkpoint_state(ema=True)


def test_a_teacher_that_the_batch_lacks_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no targets of 'cnn' but of vit"):
        CachedLogitTask(_model(), "cnn")(IMAGES_B3HW, _batch())


def test_mixed_views_refuse_a_criterion_that_cannot_mix_labels() -> None:
    batch = _batch(lam_B=torch.full((6,), 0.5), partner_labels_B=LABELS_B.flip(0))
    assert CachedLogitTask(_model())(IMAGES_B3HW, batch)["task_loss"] > 0
    with pytest.raises(ConfigError, match="mixes pairs"):
        CachedLogitTask(_model(), criterion=nn.CrossEntropyLoss())(IMAGES_B3HW, batch)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 'kl' or 'hard'"):
        CachedLogitTask(_model(), loss_type="mse")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="smooth inside"):
        CachedLogitTask(_model(), criterion=nn.CrossEntropyLoss(), smoothing=0.1)
