"""The kept mass."""

import pytest
import torch

from kdcache.precompute.pilot import kept_mass


def test_kept_mass_is_the_mean_over_views() -> None:
    logits_BC = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)) * 3
    masses = kept_mass([logits_BC[:7], logits_BC[7:]], [1, 8, 30])
    for k in (1, 8, 30):
        for temperature in (1.0, 2.0, 4.0):
            probs_BC = torch.softmax(logits_BC.double() / temperature, dim=1)
            mean = float(probs_BC.topk(k, dim=1).values.sum(dim=1).mean())
            assert masses[k][f"{temperature:g}"] == pytest.approx(mean, abs=1e-5)


def test_all_bad_samples_hold_no_mass() -> None:
    assert kept_mass([torch.empty(0, 5)], [2]) == {2: {"1": 0.0, "2": 0.0, "4": 0.0}}
