"""A loss that is not finite stops the run before it reaches the weights, and names the batch."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from kdcache.errors import KdcacheError
from kdcache.train import train
from kdcache.train.journal import Journal
from kdcache.train.objective import Losses, Objective
from tests.support.training import losses_of, small_cache, small_config


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_batch(tmp_path: Path) -> None:
    config = small_config(tmp_path, *small_cache(tmp_path))
    calls = []

    def poisoned(self: Objective, output: torch.Tensor, batch: object, **_: object) -> Losses:
        calls.append(batch)
        value = output.sum() * (float("nan") if len(calls) == 4 else 0.0)
        return Losses(value, value, value, value)

    with (
        mock.patch.object(Objective, "__call__", poisoned),
        pytest.raises(
            KdcacheError, match=r"the loss of step 3 is nan .*Its batch .*: s000.*, s000.*lower --lr"
        ),
    ):
        train(config)
    (stopped,) = Journal(Path(config.out)).read("stopped")
    assert (stopped["step"], len(stopped["keys"])) == (3, 8)
    assert len(losses_of(config.out)) == 3
