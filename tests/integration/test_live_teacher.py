"""Training from the cache is training with the live teacher: same views, same seeds, same losses."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.config.precompute import PrecomputeConfig
from kdcache.data.batch import DistillBatch
from kdcache.data.loader import DistillLoader
from kdcache.logits import NO_TAIL
from kdcache.losses.targets import TeacherTargets
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.precompute.run import precompute
from kdcache.train import train
from tests.support.shards import write_shards
from tests.support.training import losses_of, small_config

TEACHER: dict[str, Any] = {"img_size": 24, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
NUM_CLASSES = 10


class Made:
    """Shards, a teacher's weights, and its cache with dense float32 targets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = write_shards(folder / "data", [40, 24])
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.teacher = timm.create_model(
                "vit_tiny_patch16_224", num_classes=NUM_CLASSES, **TEACHER
            ).eval()
            nn.init.normal_(self.teacher.get_parameter("head.weight"), std=0.8)
        save_file(self.teacher.state_dict(), folder / "teacher.safetensors")
        settings = {
            "shards": self.shards,
            "cache": str(folder / "cache.zarr"),
            "teachers": [
                {
                    "model": "vit_tiny_patch16_224",
                    "name": "vit",
                    "checkpoint": str(folder / "teacher.safetensors"),
                    "kwargs": {**TEACHER, "num_classes": NUM_CLASSES},
                    "encoding": "float32",
                }
            ],
            "policy": {"preset": "rrc", "size": 24},
            "views": 4,
            "readers": 0,
            "teacher_threads": 1,
            "device": "cpu",
            "teacher_check": False,
        }
        precompute(PrecomputeConfig.parse(settings, where="test"), quiet=True)

    def train(self, name: str, **changes: Any) -> list[float]:
        """Train 50 steps and return the loss of each."""
        out = str(self.folder / name)
        cache = self.folder / "cache.zarr"
        settings = {"out": out, "steps": 50, "drop_path": 0.1, "clip_grad": 1.0} | changes
        train(small_config(self.folder, self.shards, cache, **settings))
        return losses_of(out)

    def targets(self, images_B3HW: Tensor) -> TeacherTargets:
        """Run the teacher on views, as a training loop without a cache would."""
        spec = InputSpec(24, 24, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        with torch.inference_mode():
            logits_BC = self.teacher(Preprocess(spec)(images_B3HW)).clone()
        return TeacherTargets(
            class_ids_BK=None,
            logits_BK=logits_BC,
            top1_B=logits_BC.amax(dim=1),
            tail_B5=torch.tensor(NO_TAIL).expand(len(logits_BC), -1),
            num_classes=NUM_CLASSES,
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make everything once."""
    return Made(tmp_path_factory.mktemp("live"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("soft", {"temperature": 2.0}),
        ("both", {"task_loss_weight": 0.5, "distill_loss_weight": 0.5}),
        ("token", {"student": "deit_tiny_distilled_patch16_224"}),
    ],
)
def test_losses_from_the_cache_are_those_of_the_live_teacher(
    made: Made, monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, Any]
) -> None:
    cached = made.train(f"{name}-cached", **changes)
    from_cache, calls = DistillLoader.epoch, []

    def live(self: DistillLoader, epoch: int, *, start: int = 0) -> Iterator[DistillBatch]:
        for batch in from_cache(self, epoch, start=start):
            calls.append(len(batch))
            yield dataclasses.replace(batch, teachers={"vit": made.targets(batch.images_B3HW)})

    monkeypatch.setattr(DistillLoader, "epoch", live)
    with_teacher = made.train(f"{name}-live", **changes)
    assert len(calls) >= len(with_teacher) == len(cached) == 50
    assert max(abs(a - b) for a, b in zip(cached, with_teacher, strict=True)) < 1e-3
    assert cached[0] != cached[-1]
