"""The loss against labels."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

__all__ = ["label_loss"]


def label_loss(
    student_logits_BC: Tensor,
    labels_B: Tensor,
    *,
    smoothing: float = 0.0,
    lam_B: Tensor | None = None,
    partner_labels_B: Tensor | None = None,
) -> Tensor:
    """Return the mean cross-entropy over the rows that have a label (``labels_B`` >= 0).

    The target is (1 - smoothing) * label + smoothing / C (Szegedy et al. 2016, arXiv:1512.00567). A mixed
    view's label is ``lam_B`` of its own and the rest of its partner's (Zhang et al. 2018, arXiv:1710.09412);
    a mixed row counts only if both have one. Computed in float32 also under autocast; zero, with a
    gradient of zero, where no row has a label.
    """
    with torch.autocast(student_logits_BC.device.type, enabled=False):
        log_probs_BC = log_softmax(student_logits_BC.float(), dim=1)
        label_term_B = _log_prob_of(log_probs_BC, labels_B)
        is_known_B = labels_B >= 0
        if lam_B is not None and partner_labels_B is not None:
            partner_term_B = _log_prob_of(log_probs_BC, partner_labels_B)
            label_term_B = lam_B * label_term_B + (1.0 - lam_B) * partner_term_B
            is_known_B = is_known_B & ((partner_labels_B >= 0) | (lam_B >= 1.0))
        loss_B = -(1.0 - smoothing) * label_term_B - smoothing * log_probs_BC.mean(dim=1)
        count = is_known_B.sum().clamp(min=1)
        return torch.where(is_known_B, loss_B, 0.0).sum() / count


def _log_prob_of(log_probs_BC: Tensor, labels_B: Tensor) -> Tensor:
    return log_probs_BC.gather(1, labels_B.clamp(min=0)[:, None]).squeeze(1)
