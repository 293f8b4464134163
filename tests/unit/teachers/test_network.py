"""A module as a teacher."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from kdcache.errors import ConfigError, TeacherError
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.runtime.device import Precision
from kdcache.teachers.network import NetworkTeacher, classifier_names
from tests.support.teachers import TinyCNN, feature_cnn, tiny_cnn, two_outputs

SPEC = InputSpec(24, 24, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")
SIZES: dict[str, dict[str, Any]] = {"test_vit": {"img_size": 32}}


def _teacher(
    module: nn.Module | None = None,
    precision: Precision = "float32",
    spec: InputSpec = SPEC,
    features: bool = False,
) -> NetworkTeacher:
    return NetworkTeacher(
        module or tiny_cnn(),
        name="cnn",
        architecture="tests:tiny",
        source="test",
        inputs=spec,
        precision=precision,
        device=CPU,
        features=features,
    )


def _views(count: int = 5, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def test_a_teacher_is_its_network_on_normalised_views() -> None:
    module = TinyCNN().eval()
    with torch.no_grad():
        expected_BC = module(Preprocess(SPEC)(_views()))
    torch.testing.assert_close(_teacher()(_views()), expected_BC)


def test_dropout_and_batch_statistics_are_off() -> None:
    teacher = _teacher(nn.Sequential(TinyCNN(), nn.Dropout(0.5)))
    assert torch.equal(teacher(_views()), teacher(_views()))
    torch.testing.assert_close(teacher(_views())[:1], teacher(_views()[:1]))


def test_a_view_of_another_size_is_resized_for_the_teacher() -> None:
    assert _teacher()(_views(size=40)).shape == (5, 10)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_ends_before_the_classifier(precision: Precision) -> None:
    logits_BC = _teacher(precision=precision)(_views(64))
    assert logits_BC.dtype == torch.float32
    # Logits made in half precision would fit into it without loss.
    assert not torch.equal(logits_BC.to(getattr(torch, precision)).float(), logits_BC)
    torch.testing.assert_close(logits_BC, _teacher()(_views(64)), atol=0.3, rtol=0.1)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_timm_s_classifiers_are_found(name: str) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=11)
    (found,) = classifier_names(model, 11)
    assert model.get_submodule(found).out_features == 11


def test_every_head_of_a_distilled_network_is_found() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False, depth=1, num_classes=11)
    assert classifier_names(model, 11) == ("head", "head_dist")


def test_a_convolution_may_be_the_classifier() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 7, 1), nn.Flatten())
    assert classifier_names(module, 7) == ("2",)


def test_a_network_without_parameters_has_no_classifier() -> None:
    assert classifier_names(nn.Identity(), 7) == ()


def test_the_digest_is_of_the_weights_as_loaded() -> None:
    assert _teacher(precision="bfloat16").weights_sha256 == _teacher().weights_sha256


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (two_outputs(), "returns a tuple"),
        (nn.Conv2d(3, 4, 1), r"returns a tensor \(1, 4, 24, 24\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 5)), "cannot take an image of 24 x 24"),
    ],
)
def test_what_returns_no_logits_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        _teacher(module)


def test_batch_norm_and_group_norm_do_not_depend_on_the_batch() -> None:
    module = timm.create_model("test_efficientnet_gn", pretrained=False, num_classes=10).eval()
    teacher = _teacher(module, spec=InputSpec(32, 32))
    torch.testing.assert_close(teacher(_views(4))[:2], teacher(_views(4)[:2]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "rednet_tiny"])
def test_logits_keep_every_bit_beside_features(name: str, precision: Precision) -> None:
    module = timm.create_model(name, pretrained=False, num_classes=10, **SIZES.get(name, {}))
    teacher = _teacher(module, precision, InputSpec(32, 32), features=True)
    logits_BC, features_BD = teacher.with_features(_views(9, 32))
    assert torch.equal(logits_BC, teacher(_views(9, 32)))
    assert features_BD.shape == (9, teacher.num_features)
    assert (logits_BC.dtype, features_BD.dtype) == (torch.float32, torch.float32)


def test_a_forward_pass_gives_both() -> None:
    teacher = _teacher(module := feature_cnn(), features=True)
    passes: list[int] = []
    module.get_submodule("conv").register_forward_hook(lambda *_: passes.append(1))
    teacher.with_features(_views())
    assert len(passes) == 1


def test_the_digest_of_the_weights_is_the_same_with_features() -> None:
    assert _teacher(feature_cnn(), features=True).weights_sha256 == _teacher(feature_cnn()).weights_sha256


def test_a_network_that_gives_no_features_is_refused_only_if_they_are_asked_for() -> None:
    assert _teacher().num_features == 0
    with pytest.raises(
        ConfigError, match=r"teacher 'cnn' \(tests:tiny\) gives no features: it has no forward_fea"
    ):
        _teacher(features=True)
