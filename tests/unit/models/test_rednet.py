"""RedNet has the paper's size, answers to timm, and serves as a teacher and a student."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError
from kdcache.models.involution import Involution2d
from kdcache.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, InputSpec, input_spec_of
from kdcache.models.rednet import Bottleneck, RedNet
from kdcache.students import build_student
from kdcache.teachers import build_teacher
from tests.support.source import ROOT

# Li et al. 2021, table 1: (name, parameters in millions, multiply-adds in G at 224 x 224).
PAPER = [("rednet26", 9.2, 1.7), ("rednet38", 12.4, 2.2), ("rednet50", 15.5, 2.7)]


def _create(name: str = "rednet_tiny", **kwargs: Any) -> RedNet:
    model = timm.create_model(name, **kwargs)
    assert isinstance(model, RedNet)
    return model


def _random_tiny(**kwargs: Any) -> RedNet:
    """Return a network none of whose branches is silent, and whose batch norms have seen data."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        model = _create(**kwargs)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(_images(16, channels=model.in_chans))
    return model.eval()


def _images(batch: int = 2, side: int = 32, channels: int = 3) -> Tensor:
    return torch.randn((batch, channels, side, side), generator=torch.Generator().manual_seed(5))


def _multiply_adds(model: nn.Module, images_B3HW: Tensor) -> int:
    """Count as common counters do: two operations a value in batch norm, and one in ReLU, count as well."""
    counts: list[int] = []

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            counts.append(output.numel() * module.weight[0].numel())
        elif isinstance(module, Involution2d):
            counts.append(output.numel() * module.span.out_channels // module.groups)
        elif isinstance(module, nn.BatchNorm2d | nn.ReLU):
            counts.append(output.numel() * (2 if isinstance(module, nn.BatchNorm2d) else 1))

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        model.eval()(images_B3HW)
    return sum(counts)


@pytest.mark.parametrize(("name", "millions", "giga"), PAPER)
def test_parameters_and_multiply_adds_are_those_of_the_paper(name: str, millions: float, giga: float) -> None:
    model = _create(name)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions
    assert round(_multiply_adds(model, _images(1, 224)) / 1e9, 1) == giga


def test_the_tiny_one_is_small() -> None:
    assert sum(parameter.numel() for parameter in _create().parameters()) <= 300_000


@pytest.mark.parametrize("side", [28, 33, 64])
def test_the_tiny_one_takes_small_pictures_of_any_size(side: int) -> None:
    assert _random_tiny()(_images(side=side)).shape == (2, 10)


def test_a_map_is_a_thirty_second_of_the_picture() -> None:
    with torch.inference_mode():
        assert _create("rednet26").eval().forward_features(_images(1, 64)).shape == (1, 2048, 2, 2)


def test_importing_the_module_registers_the_names_without_a_warning() -> None:
    code = """
import timm, kdcache.models.rednet
assert timm.list_models("rednet*") == ["rednet26", "rednet38", "rednet50", "rednet_tiny"]
assert timm.list_models("rednet*", pretrained=True) == []
assert timm.create_model("rednet26", num_classes=10).num_classes == 10
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_weights_that_do_not_exist_are_not_made_up() -> None:
    with pytest.raises(RuntimeError, match="No pretrained weights exist for rednet26"):
        _create("rednet26", pretrained=True)


def test_the_input_is_that_of_the_paper() -> None:
    model = _create("rednet26")
    assert input_spec_of(model, where="") == InputSpec(224, 224, IMAGENET_MEAN, IMAGENET_STD, "bicubic")
    assert model.pretrained_cfg["crop_pct"] == 0.875  # type: ignore[index]


def test_the_places_that_timm_changes_are_where_the_cfg_says() -> None:
    model = _create(num_classes=7, in_chans=1)
    cfg: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    first = model.get_submodule(cfg["first_conv"])
    assert isinstance(first, nn.Conv2d)
    assert first.in_channels == 1
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert model.eval()(_images(channels=1)).shape == (2, 7)


def test_features_then_head_is_the_whole() -> None:
    model, images_B3HW = _random_tiny(), _images()
    features_BCHW = model.forward_features(images_B3HW)
    pooled_BC = model.forward_head(features_BCHW, pre_logits=True)
    assert pooled_BC.shape == (2, model.head_hidden_size) == (2, model.num_features)
    torch.testing.assert_close(pooled_BC, features_BCHW.mean(dim=(2, 3)))
    torch.testing.assert_close(model.get_classifier()(pooled_BC), model(images_B3HW))


def test_the_classifier_and_its_pooling_can_be_replaced() -> None:
    model = _random_tiny()
    model.reset_classifier(4)
    assert (model.num_classes, model(_images()).shape) == (4, (2, 4))
    model.reset_classifier(0, "catavgmax")
    assert model(_images()).shape == (2, 2 * model.num_features) == (2, model.head_hidden_size)


def test_pooling_can_be_left_out() -> None:
    assert _create(num_classes=0, global_pool="").eval()(_images()).shape == (2, 256, 4, 4)


def test_an_unknown_stem_is_refused() -> None:
    with pytest.raises(ConfigError, match="stem_type is 'deep', expected one of involution, conv"):
        _create(stem_type="deep")


def test_drop_path_grows_from_nothing_to_its_rate() -> None:
    model = _create(drop_path_rate=0.5, drop_rate=0.25)
    blocks = [module for module in model.modules() if isinstance(module, Bottleneck)]
    assert [block.drop_path.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert model.head.drop.p == 0.25


def test_a_new_block_is_its_shortcut() -> None:
    block = _create().stages[0][1].eval()  # type: ignore[index]
    features_BCHW = _images(channels=64).relu()
    assert torch.equal(block(features_BCHW), features_BCHW)


def test_every_parameter_learns() -> None:
    model = _random_tiny().train()
    nn.functional.cross_entropy(model(_images(4)), torch.arange(4)).backward()
    silent = [
        name for name, tensor in model.named_parameters() if tensor.grad is None or not tensor.grad.any()
    ]
    assert silent == []


def test_it_is_a_teacher_whose_logits_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    weights = _random_tiny(num_classes=5).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    config = TeacherConfig(
        model="rednet_tiny", checkpoint=tmp_path / "w.safetensors", kwargs={"num_classes": 5}, size=28
    )
    teacher = build_teacher(config, device=torch.device("cpu"))
    views_B3HW = torch.arange(6 * 3 * 28 * 28).mul(37).remainder(251).to(torch.uint8).reshape(6, 3, 28, 28)
    together_BC = teacher(views_B3HW)
    assert together_BC.std(dim=0).min() > 1e-3
    alone_BC = torch.cat([teacher(view_3HW[None]) for view_3HW in views_B3HW])
    torch.testing.assert_close(alone_BC, together_BC, rtol=1e-4, atol=1e-5)


def test_a_half_precision_teacher_keeps_its_classifier_in_float32(tmp_path: Path) -> None:
    save_file(_random_tiny().state_dict(), tmp_path / "w.safetensors")
    settings: dict[str, Any] = {"model": "rednet_tiny", "checkpoint": tmp_path / "w.safetensors"}
    device = torch.device("cpu")
    exact = build_teacher(TeacherConfig(**settings), device=device)
    half = build_teacher(TeacherConfig(**settings, precision="bfloat16"), device=device)
    views_B3HW = torch.arange(2 * 3 * 32 * 32).remainder(251).to(torch.uint8).reshape(2, 3, 32, 32)
    exact_BC, half_BC = exact(views_B3HW), half(views_B3HW)
    assert half_BC.dtype == torch.float32
    assert not torch.equal(half_BC.bfloat16().float(), half_BC)
    torch.testing.assert_close(half_BC, exact_BC, rtol=0.1, atol=float(exact_BC.abs().max()) * 0.05)


def test_it_is_a_student_that_takes_views_as_they_are() -> None:
    student = build_student("rednet_tiny", num_classes=6, seed=0, kwargs={"drop_path_rate": 0.1})
    assert student.input_size((28, 28)) == (28, 28)
    assert student.model(_images(side=28)).shape == (2, 6)
