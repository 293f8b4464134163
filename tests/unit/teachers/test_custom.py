"""Teachers of one's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError, TeacherError
from kdcache.teachers.custom import custom_network
from tests.support.teachers import TinyCNN


def test_a_factory_is_called_with_its_arguments() -> None:
    network, source = custom_network(
        TeacherConfig(model="tests.support.teachers:tiny_cnn", kwargs={"num_classes": 7})
    )
    assert network.get_parameter("fc.bias").shape == (7,)
    assert source == "weights by tests.support.teachers:tiny_cnn"


def test_a_checkpoint_replaces_the_factory_s_weights(tmp_path: Path) -> None:
    state = TinyCNN(seed=5).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    config = TeacherConfig(model="tests.support.teachers:stranger_cnn", checkpoint=tmp_path / "w.safetensors")
    network, source = custom_network(config)
    assert torch.equal(network.get_parameter("fc.weight"), state["fc.weight"])
    assert source == "checkpoint w.safetensors"


def test_a_module_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets_for_this_test.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Linear(1, 2)\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nonexistent", *__import__("sys").path])
    network, _ = custom_network(TeacherConfig(model="my_nets_for_this_test:net"))
    assert network.get_parameter("bias").shape == (2,)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no.such.module:f", "cannot import 'no.such.module'"),
        ("tests.support.teachers:nothing", "has no callable 'nothing'"),
        ("tests.support.teachers:CFG", "has no callable 'CFG'"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        custom_network(TeacherConfig(model=model))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("no_module", "returned a int, expected a torch.nn.Module"),
        ("broken_factory", "FileNotFoundError: weights"),
    ],
)
def test_a_factory_that_fails_is_an_error(factory: str, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        custom_network(TeacherConfig(model=f"tests.support.teachers:{factory}"))
