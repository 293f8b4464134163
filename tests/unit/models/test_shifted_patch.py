"""Shifted patch tokenisation is what its paper defines, and stands where timm's patch embedding stands."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import PatchEmbed  # type: ignore[attr-defined]
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from kdcache.config.train import TrainConfig
from kdcache.errors import ConfigError
from kdcache.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from kdcache.models.shifted_patch import ShiftedPatchEmbed, shift_diagonally
from kdcache.students import build_student, heads_of
from kdcache.train.optim import build_optimizer

NAMES = (
    "deit_tiny_distilled_shifted_patch16_224",
    "vit_small_shifted_patch16_224",
    "vit_tiny_shifted_patch16_224",
)
SMALL: dict[str, Any] = {"img_size": 28, "patch_size": 7, "embed_dim": 16, "depth": 2, "num_heads": 2}
CLASSES = 5
# (vertical, horizontal) of each copy, in the paper's order: as it is, left-up, right-up, left-down, right-down.
MOVES = [(0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]


def _embed(*args: Any, **kwargs: Any) -> ShiftedPatchEmbed:
    """Return a module whose norms and biases are not those of a new one."""
    generator = torch.Generator().manual_seed(1)
    embed = ShiftedPatchEmbed(*args, **kwargs)
    with torch.no_grad():
        for parameter in embed.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return embed


def _images(height: int, width: int, *, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn((batch, channels, height, width), generator=torch.Generator().manual_seed(2))


def _small(name: str = "vit_tiny_shifted_patch16_224", **kwargs: Any) -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        model = timm.create_model(name, num_classes=CLASSES, **SMALL | kwargs)
    assert isinstance(model, VisionTransformer)
    return model


def _num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _pixel(image_CHW: Tensor, channel: int, y: int, x: int) -> float:
    _, height, width = image_CHW.shape
    inside = 0 <= y < height and 0 <= x < width
    return float(image_CHW[channel, y, x]) if inside else 0.0


def _token_by_definition(embed: ShiftedPatchEmbed, image_CHW: Tensor, top: int, left: int) -> Tensor:
    """Gather one patch of all five images pixel by pixel, normalise it and project it, in float64."""
    height, width = embed.patch_size
    pixels = [
        _pixel(image_CHW, channel, top + y - down * (height // 2), left + x - right * (width // 2))
        for down, right in MOVES
        for channel in range(len(image_CHW))
        for y in range(height)
        for x in range(width)
    ]
    mean = sum(pixels) / len(pixels)
    variance = sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels)
    scale_P, shift_P = embed.patch_norm.weight.double(), embed.patch_norm.bias.double()
    normal_P = (torch.tensor(pixels, dtype=torch.float64) - mean) / (variance + 1e-5) ** 0.5
    token_D: Tensor = embed.proj.weight.double().flatten(1) @ (normal_P * scale_P + shift_P)
    return token_D if embed.proj.bias is None else token_D + embed.proj.bias.double()


@pytest.mark.parametrize(
    ("img_size", "patch_size", "channels", "bias"),
    [
        (8, 4, 3, True),
        (9, 3, 1, True),
        ((4, 12), (2, 6), 2, False),
        ((10, 6), (5, 2), 1, True),
        ((7, 11), 4, 1, True),
    ],
)
def test_tokens_are_those_of_the_definition(
    img_size: Any, patch_size: Any, channels: int, bias: bool
) -> None:
    embed = _embed(img_size, patch_size, channels, 6, bias=bias)
    images_BCHW = _images(*embed.img_size, channels=channels)
    rows, columns = embed.grid_size
    expected_BLD = torch.stack(
        [
            torch.stack(
                [
                    _token_by_definition(
                        embed, image, row * embed.patch_size[0], column * embed.patch_size[1]
                    )
                    for row in range(rows)
                    for column in range(columns)
                ]
            )
            for image in images_BCHW
        ]
    )
    tokens_BLD = embed(images_BCHW)
    assert tokens_BLD.shape == (2, embed.num_patches, 6)
    torch.testing.assert_close(tokens_BLD.double(), expected_BLD, rtol=1e-4, atol=1e-4)


def test_the_copies_move_to_the_four_corners_and_zeros_come_in() -> None:
    image_11HW = torch.zeros(1, 1, 5, 7)
    image_11HW[0, 0, 2, 3] = 1.0
    shifted_CHW = shift_diagonally(image_11HW, 1, 2)[0]
    assert shifted_CHW.nonzero().tolist() == [[i, 2 + dy, 3 + 2 * dx] for i, (dy, dx) in enumerate(MOVES)]
    ones_CHW = shift_diagonally(torch.ones(1, 1, 5, 7), 1, 2)[0]
    assert [int(copy_HW.sum()) for copy_HW in ones_CHW] == [35, 20, 20, 20, 20]


def test_the_channels_of_a_copy_stay_together() -> None:
    images_BCHW = _images(4, 4)
    shifted_BCHW = shift_diagonally(images_BCHW, 1, 1)
    assert shifted_BCHW.shape == (2, 15, 4, 4)
    assert torch.equal(shifted_BCHW[:, :3], images_BCHW)
    assert torch.equal(shifted_BCHW[:, 3:6, :3, :3], images_BCHW[:, :, 1:, 1:])


def test_attributes_are_those_of_the_embedding_of_timm() -> None:
    for arguments in ({"img_size": (28, 56), "patch_size": (7, 14)}, {"img_size": None, "patch_size": 4}):
        ours, theirs = ShiftedPatchEmbed(**arguments), PatchEmbed(**arguments)
        for name in ("img_size", "patch_size", "grid_size", "num_patches", "flatten", "output_fmt"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert (ours.strict_img_size, ours.dynamic_img_pad) == (True, False)
        assert ours.feat_ratio() == theirs.feat_ratio()
        assert ours.feat_ratio(as_scalar=False) == theirs.feat_ratio(as_scalar=False)
        assert ours.dynamic_feat_size((56, 28)) == theirs.dynamic_feat_size((56, 28))


def test_the_number_of_parameters_is_that_of_the_formula() -> None:
    channels, patch, dim = 3, 7, 16
    pixels = 5 * channels * patch**2
    assert _num_parameters(ShiftedPatchEmbed(28, patch, channels, dim)) == 2 * pixels + pixels * dim + dim
    plain = _small("vit_tiny_patch16_224")
    assert _num_parameters(_small()) - _num_parameters(plain) == 2 * pixels + 4 * channels * patch**2 * dim


@pytest.mark.parametrize(
    ("output_fmt", "shape"),
    [("NCHW", (2, 6, 2, 3)), ("NHWC", (2, 2, 3, 6)), ("NCL", (2, 6, 6)), ("NLC", (2, 6, 6))],
)
def test_every_output_format_holds_the_same_tokens(output_fmt: str, shape: tuple[int, ...]) -> None:
    images_BCHW = _images(8, 12)
    tokens_BLD = _embed((8, 12), 4, 3, 6)(images_BCHW)
    output = _embed((8, 12), 4, 3, 6, output_fmt=output_fmt)(images_BCHW)
    assert output.shape == shape
    channels_last = output.movedim(1, -1) if output_fmt.startswith("NC") else output
    assert torch.equal(channels_last.reshape(2, 6, 6), tokens_BLD)


def test_a_norm_of_the_tokens_comes_last() -> None:
    embed = ShiftedPatchEmbed(8, 4, 3, 6, norm_layer=nn.LayerNorm)
    assert embed(_images(8, 8)).mean(dim=-1).abs().max() < 1e-5


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="images are 8 x 12, expected 8 x 8: build the model with"):
        ShiftedPatchEmbed(8, 4)(_images(8, 12))
    with pytest.raises(ConfigError, match="images are 8 x 10, expected whole patches of 4 x 4"):
        ShiftedPatchEmbed(8, 4, strict_img_size=False)(_images(8, 10))


def test_a_patch_without_a_half_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"patch_size is \(1, 4\), but images are shifted by half a patch"):
        ShiftedPatchEmbed(8, (1, 4))


def test_padding_to_whole_patches_comes_before_the_shift() -> None:
    images_BCHW = _images(6, 7)
    padded_BCHW = nn.functional.pad(images_BCHW, (0, 1, 0, 2))
    padding = _embed((6, 7), 4, 3, 6, dynamic_img_pad=True)
    assert torch.equal(padding(images_BCHW), _embed(8, 4, 3, 6)(padded_BCHW))
    assert torch.equal(padding(images_BCHW), _embed(None, 4, 3, 6, dynamic_img_pad=True)(images_BCHW))


def test_a_model_of_dynamic_size_takes_other_sizes() -> None:
    fixed, dynamic = _small().eval(), _small(dynamic_img_size=True).eval()
    assert torch.equal(fixed(_images(28, 28)), dynamic(_images(28, 28)))
    assert dynamic(_images(35, 21)).shape == (2, CLASSES)
    with pytest.raises(ConfigError, match="images are 35 x 20, expected whole patches of 7 x 7"):
        dynamic(_images(35, 20))
    assert _small(dynamic_img_size=True, dynamic_img_pad=True)(_images(35, 20)).shape == (2, CLASSES)


def test_the_size_of_the_images_can_be_changed_and_that_of_the_patches_cannot() -> None:
    model = _small()
    model.set_input_size(img_size=(14, 35), patch_size=(7, 7))
    assert model(_images(14, 35)).shape == (2, CLASSES)
    with pytest.raises(ConfigError, match=r"patch_size is \(7, 7\) and cannot become \(14, 14\)"):
        model.set_input_size(patch_size=(14, 14))


def test_timm_knows_the_names_and_has_no_weights_for_them() -> None:
    assert timm.list_models("*_shifted_patch16_224") == list(NAMES)
    assert timm.list_models("*_shifted_patch16_224", pretrained=True) == []
    with pytest.raises(RuntimeError, match="No pretrained weights exist for vit_tiny_shifted_patch16_224"):
        _small(pretrained=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_registered_model_is_that_of_timm_but_for_its_first_layer(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = timm.create_model(name), timm.create_model(name.replace("shifted_", ""))
    embed = ours.patch_embed
    assert isinstance(embed, ShiftedPatchEmbed)
    assert (embed.img_size, embed.patch_size) == ((224, 224), (16, 16))
    shapes, expected = (
        {key: tensor.shape for key, tensor in model.state_dict().items() if "patch_embed" not in key}
        for model in (ours, theirs)
    )
    assert shapes == expected
    assert ours.pretrained_cfg["mean"] == IMAGENET_MEAN  # type: ignore[index]


def test_patches_and_images_need_not_be_square() -> None:
    model = _small(img_size=[28, 42], patch_size=[14, 6], embed_layer=ShiftedPatchEmbed)
    assert model.patch_embed.grid_size == (2, 7)
    assert model(_images(28, 42)).shape == (2, CLASSES)


def test_any_vision_transformer_of_timm_takes_the_layer() -> None:
    for name in ("vit_base_patch16_clip_224", "deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2"):
        model = _small(name, embed_layer=ShiftedPatchEmbed)
        assert isinstance(model.patch_embed, ShiftedPatchEmbed), name
        assert model(_images(28, 28)).shape == (2, CLASSES)


def test_features_of_the_last_blocks_can_be_had() -> None:
    model = timm.create_model(NAMES[2], features_only=True, out_indices=(0, 1), **SMALL)
    assert [tuple(map_BCHW.shape) for map_BCHW in model(_images(28, 28))] == [(2, 16, 4, 4)] * 2


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    model = _small().eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    assert "patch_embed.patch_norm.weight" in load_file(tmp_path / "w.safetensors")
    other = _small(checkpoint_path=str(tmp_path / "w.safetensors"), weight_init="jax").eval()
    assert torch.equal(other(_images(28, 28)), model(_images(28, 28)))


def test_weights_can_start_a_model_for_larger_images(tmp_path: Path) -> None:
    save_file(_small().state_dict(), tmp_path / "w.safetensors")
    overlay = {"file": str(tmp_path / "w.safetensors"), "num_classes": CLASSES}
    larger = _small(img_size=42, pretrained=True, pretrained_cfg_overlay=overlay)
    assert larger(_images(42, 42)).shape == (2, CLASSES)


def test_norms_are_free_of_weight_decay() -> None:
    model = _small()
    values = {"shards": ["s"], "cache": "c", "out": "o", "student": NAMES[2], "weight_decay": 0.1}
    decayed = {
        id(parameter)
        for group in build_optimizer(TrainConfig.parse(values, where="test"), model).param_groups
        for parameter in group["params"]
        if group["weight_decay"] > 0
    }
    embed = model.patch_embed
    assert id(embed.proj.weight) in decayed
    assert decayed.isdisjoint({id(embed.patch_norm.weight), id(embed.patch_norm.bias)})


def test_every_parameter_and_every_pixel_gets_a_gradient() -> None:
    embed, images_BCHW = _embed(8, 4, 3, 6), _images(8, 8).requires_grad_()
    embed(images_BCHW).square().sum().backward()
    assert images_BCHW.grad is not None
    assert images_BCHW.grad.all()
    assert [name for name, tensor in embed.named_parameters() if tensor.grad is None] == []
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in embed.parameters())


def test_the_student_has_the_size_that_was_asked_for() -> None:
    student = build_student(NAMES[2], num_classes=CLASSES, seed=0, kwargs=SMALL)
    assert student.spec == InputSpec(28, 28, IMAGENET_MEAN, IMAGENET_STD, "bicubic")
    assert not student.takes_any_size


def test_a_student_with_a_distillation_token_learns_in_one_step() -> None:
    student = build_student(NAMES[0], num_classes=CLASSES, seed=0, kwargs=SMALL)
    assert student.has_distillation_head
    student.separate_heads(separate=True)
    optimiser = torch.optim.SGD(student.model.parameters(), lr=0.05)
    images_BCHW, labels_B = _images(28, 28, batch=8), torch.arange(8) % CLASSES
    losses: list[float] = []
    for _ in range(2):
        class_BC, distill_BC = heads_of(student.model.train()(images_BCHW))
        assert not torch.equal(class_BC, distill_BC)
        loss = sum(nn.functional.cross_entropy(logits, labels_B) for logits in (class_BC, distill_BC))
        assert isinstance(loss, Tensor)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
