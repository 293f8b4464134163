"""Means are means, and survive a checkpoint."""

import itertools

import numpy as np
import pytest
import torch

from kdcache.train.metrics import ECE_BINS, Calibration, Tally, num_correct

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


def _by_the_book(logits_NC: torch.Tensor, labels_N: torch.Tensor) -> float:
    """Return the expected calibration error as Guo et al. 2017 write it."""
    probs_NC = torch.softmax(logits_NC, dim=1).numpy()
    confidence_N, is_right_N = probs_NC.max(axis=1), probs_NC.argmax(axis=1) == labels_N.numpy()
    edges, total = np.linspace(0.0, 1.0, ECE_BINS + 1), 0.0
    for low, high in itertools.pairwise(edges):
        inside_N = (confidence_N > low) & (confidence_N <= high)
        if inside_N.any():
            gap = abs(is_right_N[inside_N].mean() - confidence_N[inside_N].mean())
            total += gap * inside_N.mean()
    return total


def test_the_calibration_error_is_the_papers() -> None:
    generator = torch.Generator().manual_seed(3)
    logits_NC = torch.randn(500, 6, generator=generator) * 2
    labels_N = torch.randint(0, 6, (500,), generator=generator)
    calibration = Calibration(CPU)
    for rows in torch.arange(500).split(64):
        calibration.add(logits_NC[rows], labels_N[rows])
    assert calibration.ece() == pytest.approx(_by_the_book(logits_NC, labels_N), abs=1e-6)


def test_calibration_counts_of_two_processes_add_up() -> None:
    generator = torch.Generator().manual_seed(4)
    logits_NC, labels_N = torch.randn(40, 3, generator=generator), torch.arange(40) % 3
    whole, parts = Calibration(CPU), [Calibration(CPU), Calibration(CPU)]
    whole.add(logits_NC, labels_N)
    for part, rows in zip(parts, (slice(0, 11), slice(11, 40)), strict=True):
        part.add(logits_NC[rows], labels_N[rows])
    parts[0].sums_M3.add_(parts[1].sums_M3)
    assert parts[0].ece() == pytest.approx(whole.ece(), abs=1e-12)


def test_certain_rows_are_in_the_last_bin_and_unlabelled_rows_in_none() -> None:
    calibration = Calibration(CPU)
    assert calibration.ece() is None
    calibration.add(torch.tensor([[200.0, 0.0], [0.0, 200.0], [200.0, 0.0]]), torch.tensor([0, 0, -1]))
    assert calibration.sums_M3[-1].tolist() == [2.0, 2.0, 1.0]
    assert calibration.ece() == 0.5
