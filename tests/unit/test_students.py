"""Students are timm models whose input and heads are known, and whose first weights follow the run seed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kdcache.errors import ConfigError
from kdcache.students import Student, build_student, heads_of

TINY: dict[str, Any] = {"img_size": 28, "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2}
VIT, DEIT = "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"


def _build(name: str = VIT, seed: int = 0, **changes: Any) -> Student:
    settings: dict[str, Any] = {"num_classes": 10, "seed": seed, "kwargs": TINY} | changes
    return build_student(name, **settings)


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(1)
    first = _build().model.state_dict()
    torch.manual_seed(2)
    again, other = _build().model.state_dict(), _build(seed=1).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    _build()
    assert torch.equal(torch.get_rng_state(), before)


def test_input_size_follows_img_size_then_timm() -> None:
    assert _build().input_size((64, 64)) == (28, 28)
    assert _build(kwargs={"depth": 1}).input_size((64, 64)) == (224, 224)


def test_a_model_that_is_not_tied_to_a_size_takes_views_as_they_are() -> None:
    assert _build("convnext_atto", kwargs={"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}).input_size(
        (48, 64)
    ) == (48, 64)


def test_mean_and_std_come_from_timm_unless_given() -> None:
    assert _build().spec.mean == (0.5, 0.5, 0.5)
    assert _build(mean=(0.1, 0.2, 0.3)).spec.mean == (0.1, 0.2, 0.3)


def test_a_view_of_another_size_is_resized_to_what_the_model_takes() -> None:
    views = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    images = _build().preprocess((40, 40))(views)
    assert images.shape == (2, 3, 28, 28)
    torch.testing.assert_close(images, torch.full_like(images, -1.0))


def test_a_distillation_token_gives_two_heads_in_training_and_their_average_otherwise() -> None:
    student = _build(DEIT)
    assert student.has_distillation_head
    student.separate_heads(separate=True)
    images = torch.randn(2, 3, 28, 28)
    class_logits_BC, distill_logits_BC = heads_of(student.model.train()(images))
    average_BC = student.model.eval()(images)
    torch.testing.assert_close(average_BC, (class_logits_BC + distill_logits_BC) / 2)
    assert not torch.equal(class_logits_BC, distill_logits_BC)


def test_a_plain_student_gives_its_one_head_twice() -> None:
    student = _build()
    student.separate_heads(separate=True)
    class_logits_BC, distill_logits_BC = heads_of(student.model(torch.randn(2, 3, 28, 28)))
    assert not student.has_distillation_head
    assert class_logits_BC is distill_logits_BC


@pytest.mark.parametrize(
    ("name", "has_one"),
    [("levit_128s", True), ("repvit_m1", True), ("vit_tiny_patch16_224", False), ("resnet18", False)],
)
def test_the_second_head_is_found_in_other_families(name: str, has_one: bool) -> None:
    assert build_student(name, num_classes=10, seed=0).has_distillation_head is has_one


def test_a_misspelt_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"'vit_tinny_patch16_224': timm .* has no such model; did you mean vit_tiny"
    ):
        _build("vit_tinny_patch16_224")


def test_arguments_that_timm_refuses_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"cannot be built: TypeError: .*'depht'.*check --student-kwargs"):
        _build(kwargs={"depht": 2})


def test_a_missing_checkpoint_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"weights from .*none.safetensors.*cannot be built: FileNotFoundError"
    ):
        _build(checkpoint=str(tmp_path / "none.safetensors"))


def test_a_checkpoint_becomes_the_first_weights(tmp_path: Path) -> None:
    weights = _build(seed=5).model.state_dict()
    save_file(weights, tmp_path / "first.safetensors")
    loaded = _build(checkpoint=str(tmp_path / "first.safetensors")).model.state_dict()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_file(_build(num_classes=7).model.state_dict(), tmp_path / "seven.safetensors")
    with pytest.raises(ConfigError, match=r"cannot be built: RuntimeError: .*size mismatch for head"):
        _build(checkpoint=str(tmp_path / "seven.safetensors"))


@pytest.mark.parametrize("name", [VIT, DEIT])
def test_the_head_begins_smaller_by_the_factor_that_is_asked_for(name: str) -> None:
    whole, scaled = _build(name).model.state_dict(), _build(name, head_init_scale=0.25).model.state_dict()
    heads = {key for key in whole if key.startswith("head") and key.endswith("weight")}
    assert len(heads) == (2 if name == DEIT else 1)
    for key in whole:
        factor = 0.25 if key.startswith("head") else 1.0
        torch.testing.assert_close(scaled[key], whole[key] * factor, rtol=0, atol=0)


def test_a_head_that_is_no_layer_cannot_be_scaled() -> None:
    with pytest.raises(ConfigError, match=r"head_init_scale 0.5: the classifier of .* leave out"):
        _build("test_efficientnet_ln", kwargs={"global_pool": ""}, num_classes=0, head_init_scale=0.5)


def test_gradient_checkpointing_is_timms_and_refused_where_timm_has_none() -> None:
    assert not _build().model.grad_checkpointing
    assert _build(grad_checkpointing=True).model.grad_checkpointing
    with pytest.raises(ConfigError, match=r"'dla34' has no gradient checkpointing .*leave out --grad"):
        _build("dla34", kwargs={}, grad_checkpointing=True)


@pytest.mark.parametrize("name", [VIT, DEIT])
def test_a_student_says_how_many_features_it_has(name: str) -> None:
    assert _build(name).num_features() == 32
