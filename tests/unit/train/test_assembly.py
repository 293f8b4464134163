"""Batch norms are shared where there is somebody to share them with."""

import pytest
import torch
from torch import nn

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.runtime.dist import World
from kdcache.train.assembly import share_batch_norms

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def _shared(*, sync_bn: bool = True, world: int = 2, device: torch.device = CUDA) -> nn.Module:
    settings = {"shards": ["a.tar"], "cache": "c", "student": "s", "out": "o", "sync_bn": sync_bn}
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    config = TrainConfig.parse(settings, where="test")
    return share_batch_norms(model, config, world=World(size=world), device=device)


def test_several_gpus_share_their_batch_norms() -> None:
    shared = _shared()
    assert isinstance(shared.get_submodule("1"), nn.SyncBatchNorm)
    assert list(shared.state_dict())[:4] == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_nothing_changes_in_one_process_or_unasked() -> None:
    for model in (_shared(world=1, device=CPU), _shared(sync_bn=False)):
        assert isinstance(model.get_submodule("1"), nn.BatchNorm2d)


def test_processes_on_cpus_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"--sync-bn: .*CUDA devices only, and this run is on cpu; leave out"
    ):
        _shared(device=CPU)
