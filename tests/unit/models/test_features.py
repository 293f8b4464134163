"""What a classifier is given, from the same pass as the logits."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import kdcache.models.rednet  # noqa: F401 - for its effect: timm then knows the RedNets
from kdcache.errors import ConfigError
from kdcache.models.features import WithFeatures, count_features, features_and_output
from tests.support.teachers import FeatureCNN, TinyCNN

TINY_DEIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
DEIT = "deit_tiny_distilled_patch16_224"


def _model(name: str, **kwargs: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, pretrained=False, num_classes=10, **kwargs)


def _images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("vit_tiny_patch16_224", TINY_DEIT), ("test_convnext", {}), ("test_resnet", {}), ("rednet_tiny", {})],
)
def test_the_classifier_makes_the_output_out_of_the_features(name: str, kwargs: dict[str, Any]) -> None:
    model = _model(name, **kwargs).eval()
    features_BD, logits_BC = features_and_output(model, _images())
    assert isinstance(logits_BC, Tensor)
    assert torch.equal(logits_BC, model(_images()))
    torch.testing.assert_close(model.get_classifier()(features_BD), logits_BC)
    assert (
        features_BD.shape[1]
        == count_features(model, (32, 32), where="it", remedy="")
        == model.head_hidden_size
    )


@pytest.mark.parametrize("separate", [False, True])
def test_a_distillation_token_counts_half_of_the_features(separate: bool) -> None:
    model = _model(DEIT, **TINY_DEIT).train()
    model.set_distilled_training(separate)
    features_BD, output = features_and_output(model, _images())
    tokens_BND = model.forward_features(_images())
    torch.testing.assert_close(features_BD, tokens_BND[:, :2].mean(dim=1))
    if separate:
        assert isinstance(output, tuple)
        assert all(torch.equal(one, other) for one, other in zip(output, model(_images()), strict=True))
    else:
        assert isinstance(output, Tensor)
        assert torch.equal(output, model(_images()))


def test_the_output_under_dropout_is_what_it_is_without_features() -> None:
    model = _model("vit_tiny_patch16_224", **TINY_DEIT, drop_rate=0.5).train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        alone = model(_images())
        torch.manual_seed(3)
        _, output = features_and_output(model, _images())
    assert isinstance(output, Tensor)
    assert torch.equal(output, alone)


def test_gradients_of_both_meet_in_the_body() -> None:
    model = _model("test_vit", img_size=32)
    features_BD, output = WithFeatures(model)(_images())
    features_BD.square().sum().backward(retain_graph=True)
    assert model.get_classifier().weight.grad is None
    assert model.patch_embed.proj.weight.grad.abs().sum() > 0
    output.sum().backward()
    assert model.get_classifier().weight.grad is not None


def test_it_may_be_compiled() -> None:
    model = _model("test_vit", img_size=32)
    compiled = torch.compile(WithFeatures(model), backend="eager", fullgraph=True)
    for found, expected in zip(compiled(_images()), features_and_output(model, _images()), strict=True):
        torch.testing.assert_close(found, expected)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = _model("test_resnet").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_features(model, (32, 32), where="it", remedy="")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class _Scaled(FeatureCNN):
    def forward(self, images_B3HW: Tensor) -> Tensor:
        return 2.0 * super().forward(images_B3HW)


class _OneWay(FeatureCNN):
    def forward_head(self, maps_BCHW: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward_head(maps_BCHW)


class _Unpooled(FeatureCNN):
    def forward_head(self, maps_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        return maps_BCHW if pre_logits else super().forward_head(maps_BCHW)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (TinyCNN(), "it has no forward_features and no forward_head, as timm's networks have"),
        (_Scaled(), r"its output is not forward_head\(forward_features\(images\)\)"),
        (
            _OneWay(),
            r"unexpected keyword argument 'pre_logits'; its forward_head\(features, pre_logits=True\)",
        ),
        (_Unpooled(), r"features of shape \(1, 16, 6, 6\) for one image, expected \(1, D\)"),
    ],
)
def test_what_does_not_follow_the_convention_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^it gives.*{message}.*or do without$"):
        count_features(network, (24, 24), where="it", remedy="do without")
