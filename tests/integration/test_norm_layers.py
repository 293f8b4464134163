"""Whatever a network's norm layers: a view's logits are the same at every batch size, by library and command."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.config.precompute import TeacherConfig
from kdcache.store import open_cache
from kdcache.students import build_student
from kdcache.teachers import build_teacher
from tests.support.precompute_runs import invoke, words
from tests.support.shards import write_shards

# Widths that 32 groups divide; test_resnet's own are 16, 48 and 96.
WIDTHS: dict[str, Any] = {"channels": [32, 32, 64, 64], "stem_width": 32}
NORM_LAYERS = ["batchnorm2d", "groupnorm", "groupnorm1", "layernorm2d"]
SIZES = [1, 2, 3, 7, 16]
# The last map is 2 x 2. Over one pixel a group would be two numbers, and their normalised difference a mere sign,
# which magnifies rounding.
SIDE = 64


def _kwargs(norm_layer: str) -> dict[str, Any]:
    return {"norm_layer": norm_layer, "num_classes": 10, **WIDTHS}


def _images(batch: int) -> Tensor:
    return torch.randn((batch, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(batch))


def _network(norm_layer: str) -> nn.Module:
    """Return a network of seeded weights whose norm layers scale, shift and, for batch norm, have seen data."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model: nn.Module = timm.create_model("test_resnet", **_kwargs(norm_layer))
    for name, tensor in model.named_parameters():
        if tensor.ndim == 1 and "fc" not in name:
            is_scale = name.endswith("weight")
            nn.init.uniform_(tensor, 0.5 if is_scale else -0.5, 1.5 if is_scale else 0.5, generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(_images(32) * 2 + 0.5)
    return model.eval()


def _weights(norm_layer: str, folder: Path) -> Path:
    path = folder / f"{norm_layer}.safetensors"
    save_file(_network(norm_layer).state_dict(), path)
    return path


def _assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("norm_layer", NORM_LAYERS)
def test_a_teacher_says_the_same_of_a_view_at_every_batch_size(norm_layer: str, tmp_path: Path) -> None:
    config = TeacherConfig(
        model="test_resnet",
        checkpoint=_weights(norm_layer, tmp_path),
        kwargs=_kwargs(norm_layer),
        size=SIDE,
    )
    teacher = build_teacher(config, device=torch.device("cpu"))
    views_B3HW = _images(16).mul(60).add(128).clamp(0, 255).to(torch.uint8)
    logits_BC = {size: torch.cat([teacher(part) for part in views_B3HW.split(size)]) for size in SIZES}
    assert logits_BC[16].std(dim=0).min() > 0.01
    for size in SIZES:
        _assert_same(logits_BC[size], logits_BC[16])


def test_batch_norm_left_in_training_mode_would_be_noticed() -> None:
    model = _network("batchnorm2d").train()
    images_B3HW = _images(16)
    with pytest.raises(AssertionError, match="not close"), torch.no_grad():
        _assert_same(torch.cat([model(part) for part in images_B3HW.split(2)]), model(images_B3HW))


def _cached(folder: Path, shards: list[str], norm_layer: str, *, batch_size: int) -> NDArray[np.float32]:
    """Run the command and return the logits (V, B, C) that it cached, in class order."""
    arguments = [f"--teacher-kwargs={name}={value}" for name, value in _kwargs(norm_layer).items()]
    cache = folder / f"{norm_layer}-{batch_size}.zarr"
    teacher = ["--teacher", "test_resnet", "--teacher-checkpoint", str(_weights(norm_layer, folder))]
    rest = ["--teacher-size", str(SIDE), "--encoding", "float32", "--batch-size", str(batch_size)]
    done = invoke(words(cache, shards, *teacher, *arguments, *rest))
    assert done.exit_code == 0, done.output
    targets = [open_cache(cache).targets("test_resnet", 0, aug_seed) for aug_seed in range(4)]
    return np.stack([each.logits_NK for each in targets])


@pytest.mark.parametrize("norm_layer", ["batchnorm2d", "groupnorm"])
def test_the_command_caches_the_same_logits_at_every_batch_size(
    norm_layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
    shards = write_shards(tmp_path / "shards", [8])
    expected = torch.from_numpy(_cached(tmp_path, shards, norm_layer, batch_size=16))
    assert expected.shape == (4, 8, 10)
    for batch_size in (1, 3):
        found = torch.from_numpy(_cached(tmp_path, shards, norm_layer, batch_size=batch_size))
        _assert_same(found, expected)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("test_resnet", {"norm_layer": "groupnorm", **WIDTHS}),
        ("test_resnet", {"norm_layer": "layernorm2d"}),
        ("test_vit", {"norm_layer": "layernorm", "img_size": SIDE}),
    ],
)
def test_a_student_without_batch_norm_learns_from_each_picture_alone(
    name: str, kwargs: dict[str, Any]
) -> None:
    model = build_student(name, num_classes=10, seed=0, kwargs=kwargs).model.train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    images_B3HW = _images(4)
    with torch.no_grad():
        alone_BC = torch.cat([model(image_3HW[None]) for image_3HW in images_B3HW])
        _assert_same(alone_BC, model(images_B3HW))
