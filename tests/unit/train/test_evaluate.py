"""Evaluation counts what is labelled, compares what is cached, and leaves the model as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kdcache.data.batch import DistillBatch
from kdcache.logits import all_classes
from kdcache.losses import TeacherTargets, kl
from kdcache.runtime.dist import World
from kdcache.train.evaluate import EvalReport, evaluate
from kdcache.train.metrics import Calibration
from kdcache.train.per_class import ClassCounts

CPU = torch.device("cpu")
NUM_CLASSES = 7
LOGITS_NC = torch.randn(10, NUM_CLASSES, generator=torch.Generator().manual_seed(1)) * 2
LABELS_N = torch.tensor([0, 1, 2, 3, 4, 5, 6, -1, -1, 0])
TEACHER_NC = np.random.default_rng(2).normal(size=(10, NUM_CLASSES)).astype(np.float32)


class _Rows(nn.Module):
    """Returns fixed logits: the pixels say which."""

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return LOGITS_NC[images_B3HW[:, 0, 0, 0].long()]


def _batches(*, with_teacher: bool) -> list[DistillBatch]:
    batches = []
    for rows in (range(6), range(6, 10)):
        index_B = torch.tensor(list(rows))
        targets = (
            {"t": TeacherTargets.from_numpy(all_classes(TEACHER_NC[list(rows)]))} if with_teacher else {}
        )
        batches.append(
            DistillBatch(
                images_B3HW=index_B[:, None, None, None].expand(-1, 3, 1, 1).to(torch.uint8),
                labels_B=LABELS_N[index_B],
                teachers=targets,
                keys=tuple(str(row) for row in rows),
                aug_seeds_B=torch.zeros(len(rows), dtype=torch.int64),
            )
        )
    return batches


def _evaluate(
    model: nn.Module, *, with_teacher: bool = False, per_class: ClassCounts | None = None
) -> EvalReport:
    return evaluate(
        model,
        _batches(with_teacher=with_teacher),
        preprocess=nn.Identity(),
        device=CPU,
        world=World(),
        each=lambda: None,
        per_class=per_class,
    )


def test_accuracy_and_loss_are_means_over_the_labelled_samples() -> None:
    report = _evaluate(_Rows())
    is_known_N = LABELS_N >= 0
    known_NC, labels_N = LOGITS_NC[is_known_N], LABELS_N[is_known_N]
    assert (report.samples, report.labelled) == (10, 8)
    assert report.top1 == pytest.approx(float((known_NC.argmax(1) == labels_N).double().mean()))
    five_N5 = known_NC.topk(5).indices
    assert report.top5 == pytest.approx(float((five_N5 == labels_N[:, None]).any(1).double().mean()))
    assert report.loss == pytest.approx(float(cross_entropy(known_NC, labels_N)), rel=1e-5)
    assert report.agreement is None


def test_calibration_and_classes_are_counted_over_all_batches() -> None:
    calibration, counts = Calibration(CPU), ClassCounts(NUM_CLASSES, CPU)
    calibration.add(LOGITS_NC, LABELS_N)
    report = _evaluate(_Rows(), per_class=counts)
    assert report.ece == pytest.approx(calibration.ece(), abs=1e-9)
    assert [row.samples for row in counts.figures()] == [2, 1, 1, 1, 1, 1, 1]
    assert "ECE 0." in report.to_text()


def test_a_cached_teacher_is_compared_on_all_samples() -> None:
    report = _evaluate(_Rows(), with_teacher=True)
    teacher_N = torch.from_numpy(TEACHER_NC).argmax(1)
    assert report.agreement == pytest.approx(float((LOGITS_NC.argmax(1) == teacher_N).double().mean()))
    expected = float(kl(LOGITS_NC, TeacherTargets.from_numpy(all_classes(TEACHER_NC))))
    assert report.teacher_kl == pytest.approx(expected, rel=1e-5)
    is_known_N = LABELS_N >= 0
    assert report.teacher_top1 == pytest.approx(float((teacher_N == LABELS_N)[is_known_N].double().mean()))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(*, training: bool) -> None:
    model = _Rows().train(training)
    _evaluate(model)
    assert model.training is training


def test_without_labels_and_teacher_there_is_nothing_to_say() -> None:
    report = EvalReport(samples=3, labelled=0, top1=None, top5=None, loss=None)
    assert report.to_text() == "nothing to compare with"
