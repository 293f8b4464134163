"""Which device, which precision."""

import pytest
import torch

from kdcache.errors import ConfigError
from kdcache.runtime.device import autocast, device_name, resolve_device


def test_auto_finds_some_device() -> None:
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99"])
def test_a_device_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        resolve_device(name)


def test_missing_mps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ConfigError, match="not available"):
        resolve_device("mps")


def test_the_local_rank_picks_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert resolve_device("cuda", local_rank=3) == torch.device("cuda", 3)
    assert resolve_device("cuda:1", local_rank=3) == torch.device("cuda", 1)


def test_the_cpu_is_called_cpu() -> None:
    assert device_name(torch.device("cpu")) == "cpu"


def test_autocast_sets_the_precision_of_products() -> None:
    one = torch.ones(2, 2)
    with autocast(torch.device("cpu"), "bfloat16"):
        assert (one @ one).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "float32"):
        assert (one @ one).dtype == torch.float32
