"""An export that says anything else than the run's weights is refused."""

import pytest
import torch
from torch import Tensor

from kdcache.errors import CheckpointError
from kdcache.export.check import max_difference
from kdcache.export.subject import Subject


def _own(subject: Subject, views_B3HW: Tensor) -> Tensor:
    logits_BC: Tensor = subject.student.model(subject.preprocess(views_B3HW))
    return logits_BC


def test_the_model_itself_passes(subject: Subject) -> None:
    assert max_difference(subject, lambda views: _own(subject, views), tolerance=1e-5) < 1e-6


def test_the_largest_difference_is_told(subject: Subject) -> None:
    found = max_difference(subject, lambda views: _own(subject, views) + 0.25, tolerance=1.0)
    assert found == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("offset", [2e-5, float("nan")])
def test_logits_that_are_too_far_off_are_refused(subject: Subject, offset: float) -> None:
    with pytest.raises(CheckpointError, match=r"logits differ by up to .*, 1e-05 is allowed"):
        max_difference(subject, lambda views: _own(subject, views) + offset, tolerance=1e-5)


def test_other_classes_are_refused(subject: Subject) -> None:
    with pytest.raises(CheckpointError, match=r"returns logits \(9,\) where the run's weights give \(10,\)"):
        max_difference(subject, lambda views: _own(subject, views)[:, :9], tolerance=1e-5)


def test_a_batch_size_that_was_built_in_is_noticed(subject: Subject) -> None:
    first_BC = _own(subject, subject.views(8)).detach()
    with pytest.raises(CheckpointError, match="nothing was written"):
        max_difference(subject, lambda views: first_BC + 0 * torch.ones(()), tolerance=1e-5)
