"""Teachers by timm name."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError, TeacherError
from kdcache.teachers.timm_teacher import timm_network


def test_a_local_checkpoint_is_loaded(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    config = TeacherConfig(
        model="test_resnet.r160_in1k", checkpoint=tmp_path / "w.safetensors", kwargs={"num_classes": 7}
    )
    network, source = timm_network(config)
    assert torch.equal(network.state_dict()["conv1.0.weight"], model.state_dict()["conv1.0.weight"])
    assert source == "checkpoint w.safetensors"


def test_without_a_checkpoint_timm_s_pretrained_weights_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def create_model(name: str, **kwargs: Any) -> nn.Module:
        asked.update(kwargs, name=name)
        return nn.Identity()

    monkeypatch.setattr("timm.create_model", create_model)
    _, source = timm_network(TeacherConfig(model="test_vit", kwargs={"img_size": 32}))
    assert asked == {"name": "test_vit", "pretrained": True, "img_size": 32}
    assert source == f"timm {timm.__version__} pretrained test_vit"


def test_weights_that_cannot_be_had_are_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, **kwargs: Any) -> nn.Module:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(TeacherError) as caught:
        timm_network(TeacherConfig(model="test_vit"))
    assert "cannot be had: Name or service not known; " in str(caught.value)
    assert "--teacher-checkpoint" in str(caught.value)


def test_an_unknown_network_is_answered_with_near_names() -> None:
    with pytest.raises(ConfigError, match="did you mean resnet50"):
        timm_network(TeacherConfig(model="resnet5"))


def test_unknown_weights_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no weights 'nope' for test_resnet, but r160_in1k"):
        timm_network(TeacherConfig(model="test_resnet.nope"))


def test_arguments_that_timm_refuses_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    config = TeacherConfig(model="test_resnet", checkpoint=tmp_path / "w.pth", kwargs={"colour": 3})
    with pytest.raises(ConfigError, match="with colour=3"):
        timm_network(config)


def test_a_network_that_timm_fails_to_build_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def create_model(name: str, **kwargs: Any) -> nn.Module:
        raise RuntimeError("boom")

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(TeacherError, match="cannot build 'test_vit': boom"):
        timm_network(TeacherConfig(model="test_vit", checkpoint=tmp_path / "w.pth"))
