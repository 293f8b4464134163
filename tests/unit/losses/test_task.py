"""The label loss counts labelled rows only, smooths, and mixes labels with lambda."""

import torch
from torch.nn.functional import cross_entropy

from kdcache.losses.task import label_loss

LOGITS_BC = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def test_unlabelled_rows_do_not_count() -> None:
    labels_B = torch.tensor([2, -1, 0, -1])
    torch.testing.assert_close(
        label_loss(LOGITS_BC, labels_B), cross_entropy(LOGITS_BC[[0, 2]], labels_B[[0, 2]])
    )


def test_a_batch_without_labels_gives_zero_and_a_zero_gradient() -> None:
    logits_BC = LOGITS_BC.clone().requires_grad_()
    loss = label_loss(logits_BC, torch.full((4,), -1))
    loss.backward()
    assert loss == 0
    assert logits_BC.grad is not None
    assert not logits_BC.grad.any()


def test_smoothing_is_that_of_cross_entropy() -> None:
    labels_B = torch.tensor([2, 1, 0, 4])
    torch.testing.assert_close(
        label_loss(LOGITS_BC, labels_B, smoothing=0.1),
        cross_entropy(LOGITS_BC, labels_B, label_smoothing=0.1),
    )


def test_mixed_rows_follow_both_labels_by_lambda() -> None:
    labels_B, partners_B = torch.tensor([2, 1, 0, 4]), torch.tensor([0, 1, 3, 2])
    lam_B = torch.tensor([0.3, 0.5, 1.0, 0.9])
    targets_BC = torch.zeros(4, 5).scatter_add_(1, labels_B[:, None], lam_B[:, None])
    targets_BC.scatter_add_(1, partners_B[:, None], 1 - lam_B[:, None])
    torch.testing.assert_close(
        label_loss(LOGITS_BC, labels_B, lam_B=lam_B, partner_labels_B=partners_B),
        cross_entropy(LOGITS_BC, targets_BC),
    )


def test_a_mixed_row_counts_only_if_both_labels_are_known() -> None:
    labels_B, partners_B = torch.tensor([2, -1, 0, 4]), torch.tensor([-1, 1, -1, 4])
    loss = label_loss(
        LOGITS_BC, labels_B, lam_B=torch.tensor([0.5, 0.5, 1.0, 0.5]), partner_labels_B=partners_B
    )
    torch.testing.assert_close(loss, cross_entropy(LOGITS_BC[[2, 3]], labels_B[[2, 3]]))


def test_the_label_loss_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert label_loss(LOGITS_BC.bfloat16(), torch.tensor([2, 1, 0, 4])).dtype == torch.float32
