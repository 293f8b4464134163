"""Means are means, and survive a checkpoint."""

import torch

from kdcache.train.metrics import Tally, num_correct

CPU = torch.device("cpu")


def test_a_mean_is_over_what_was_counted() -> None:
    tally = Tally(("loss", "top1"), CPU)
    tally.add("loss", torch.tensor(6.0), 2)
    tally.add("loss", 3.0, torch.tensor(1))
    assert tally.means() == {"loss": 3.0, "top1": None}
    assert tally.count("loss") == 3


def test_a_tally_goes_back_to_its_state() -> None:
    tally = Tally(("loss", "top1"), CPU)
    tally.add("loss", 6.0, 2)
    state = tally.state()
    tally.reset()
    assert tally.means()["loss"] is None
    assert Tally(("loss", "top1"), CPU).restore(state).means() == {"loss": 3.0, "top1": None}


def test_correct_rows_are_counted_among_the_k_best() -> None:
    logits_BC = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.1, 0.2, 0.3]])
    labels_B = torch.tensor([1, 1, -1])
    assert [int(num_correct(logits_BC, labels_B, k)) for k in (1, 2, 5)] == [1, 1, 2]
