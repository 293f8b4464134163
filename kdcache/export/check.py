"""Every export is loaded again and must say what the run's weights say."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcache.errors import CheckpointError
from kdcache.export.subject import Subject

__all__ = ["VIEWS_CHECKED", "max_difference"]

VIEWS_CHECKED = 8

Exported = Callable[[Tensor], Tensor]


@torch.inference_mode()
def max_difference(subject: Subject, exported: Exported, *, tolerance: float) -> float:
    """Return the largest difference of a logit; ``exported`` maps uint8 views to logits.

    It is asked for all views at once and for one alone, so that a batch size that was built in is noticed.

    Raises:
        CheckpointError: it is above ``tolerance``, or the logits have another shape or are not finite.
    """
    views_B3HW = subject.views(VIEWS_CHECKED)
    expected_BC = subject.student.model(subject.preprocess(views_B3HW))
    found_BC = torch.cat([exported(views_B3HW), exported(views_B3HW[:1])])
    expected_BC = torch.cat([expected_BC, expected_BC[:1]])
    if found_BC.shape != expected_BC.shape:
        raise CheckpointError(
            f"the export of {subject.student.name} returns logits {tuple(found_BC.shape[1:])} where the run's weights "
            f"give {tuple(expected_BC.shape[1:])}; nothing was written"
        )
    difference = float((found_BC - expected_BC).abs().max())
    if not difference <= tolerance:
        raise CheckpointError(
            f"the export of {subject.student.name} is not the model of {subject.run.weights_file}: its logits differ "
            f"by up to {difference:.1e}, {tolerance:.0e} is allowed (logits go up to "
            f"{float(expected_BC.abs().max()):.1f}); nothing was written; --tolerance allows more"
        )
    return difference
