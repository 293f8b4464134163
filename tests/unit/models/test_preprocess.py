"""From view to network input."""

import pytest
import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import nn

from kdcache.errors import ConfigError
from kdcache.models.preprocess import InputSpec, Preprocess, input_spec_of

SPEC = InputSpec(16, 16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")


def _views(height: int = 16, width: int = 16) -> torch.Tensor:
    values = torch.arange(2 * 3 * height * width) * 37 % 256
    return values.to(torch.uint8).reshape(2, 3, height, width)


def test_a_view_of_the_right_size_is_scaled_and_normalised() -> None:
    views_B3HW = _views()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    expected_B3HW = (views_B3HW.float() / 255 - mean) / std
    torch.testing.assert_close(Preprocess(SPEC)(views_B3HW), expected_B3HW)


def test_another_size_is_resized_with_antialiasing_and_not_rounded() -> None:
    views_B3HW = _views(24, 20)
    resized = torch.nn.functional.interpolate(
        views_B3HW.float(), size=(16, 16), mode="bilinear", antialias=True, align_corners=False
    )
    assert (resized % 1 != 0).any()
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (SPEC.mean, SPEC.std))
    torch.testing.assert_close(Preprocess(SPEC)(views_B3HW), (resized / 255 - mean) / std)


def test_there_is_nothing_to_save() -> None:
    assert Preprocess(SPEC).state_dict() == {}


def test_timm_s_own_transform_is_the_same_normalisation() -> None:
    model = timm.create_model("test_resnet", pretrained=False)
    config = resolve_model_data_config(model)
    spec = input_spec_of(model, where="test_resnet")
    assert (spec.height, spec.width) == config["input_size"][1:]
    assert (spec.mean, spec.std, spec.interpolation) == (
        config["mean"],
        config["std"],
        config["interpolation"],
    )


def test_a_transformer_built_for_another_size_asks_for_that_size() -> None:
    model = timm.create_model("test_vit", pretrained=False, img_size=32)
    spec = input_spec_of(model, where="test_vit")
    assert (spec.height, spec.width) == (32, 32)


def test_a_filter_that_torch_has_not_becomes_bicubic() -> None:
    cfg = {"input_size": (3, 8, 9), "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "lanczos"}
    assert InputSpec.from_pretrained_cfg(cfg, where="x") == InputSpec(
        8, 9, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bicubic"
    )


def test_a_model_that_does_not_say_its_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not say its input_size"):
        input_spec_of(nn.Linear(1, 1), where="a.b:c")


@pytest.mark.parametrize(
    "change", [{"input_size": (1, 8, 8)}, {"mean": (0.5,)}, {"std": None}], ids=["grey", "mean", "std"]
)
def test_an_input_that_is_not_rgb_is_refused(change: dict[str, object]) -> None:
    cfg = {"input_size": (3, 8, 8), "mean": (0, 0, 0), "std": (1, 1, 1), **change}
    with pytest.raises(ConfigError, match=r"three|RGB"):
        InputSpec.from_pretrained_cfg(cfg, where="x")
