"""A compiled student is another way to call the same module."""

from functools import partial

import pytest
import torch
from torch import nn

from kdcache.errors import ConfigError
from kdcache.train.compiled import compiled


def test_the_module_keeps_its_names_and_gets_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcache.train.compiled.torch.compile", partial(torch.compile, backend="eager"))
    model = nn.Linear(2, 1)
    images = torch.ones(3, 2)
    output = compiled(model)(images)
    torch.testing.assert_close(output, model(images))
    output.sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[3.0, 3.0]]
    assert list(model.state_dict()) == ["weight", "bias"]


def test_what_cannot_be_compiled_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler found")

    monkeypatch.setattr("kdcache.train.compiled.torch.compile", partial(torch.compile, backend=broken))
    with pytest.raises(ConfigError, match=r"--compile: .*no compiler found.*leave out --compile"):
        compiled(nn.Linear(2, 1))(torch.ones(3, 2))
