"""The demo's recipe: which views, which student, how long; written as files that the commands read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["LABELLED", "TEST", "UNLABELLED", "Recipe"]

_HERE: Final = Path(__file__).parent
LABELLED: Final = str(_HERE / "data" / "labelled-000.tar")
UNLABELLED: Final = str(_HERE / "data" / "unlabelled-{000..003}.tar")
TEST: Final = str(_HERE / "data" / "test-000.tar")

NUM_PICTURES: Final = 2_000
BATCH: Final = 64
MEAN: Final = [0.286] * 3
STD: Final = [0.353] * 3

TEACHER: Final[dict[str, Any]] = {
    "model": "kdcache.demo.teacher:fashion_cnn",
    "checkpoint": str(_HERE / "teacher.safetensors"),
    "mean": MEAN,
    "std": STD,
    "size": 28,
}
TRAIN_POLICY: Final[dict[str, Any]] = {"size": 28, "crop": "padded", "padding": 2, "flip": 0.5}
MIXED_POLICY: Final[dict[str, Any]] = TRAIN_POLICY | {"mixing": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}}
TEST_POLICY: Final[dict[str, Any]] = {"size": 28, "crop": "center", "crop_pct": 1.0, "flip": 0.0}
STUDENT: Final[dict[str, Any]] = {
    "img_size": 28,
    "patch_size": 7,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
    "weight_init": "jax",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How large the demo is; the defaults are what its promise is made for."""

    views: int = 10
    epochs: int = 20
    seeds: int = 2

    @property
    def steps(self) -> int:
        """Optimiser steps of every run: epochs over all pictures, whatever a run trains on."""
        return max(1, self.epochs * NUM_PICTURES // BATCH)

    def precompute_settings(self) -> dict[str, Any]:
        """Return the settings of stage one on the training pictures."""
        return {"teachers": [TEACHER], "policy": TRAIN_POLICY, "views": self.views}

    def mixed_settings(self) -> dict[str, Any]:
        """Return the settings of stage one on the same pictures under a policy that mixes pairs."""
        return self.precompute_settings() | {"policy": MIXED_POLICY}

    def test_settings(self) -> dict[str, Any]:
        """Return the settings of stage one on the test pictures: one plain view of each."""
        return {"teachers": [TEACHER], "policy": TEST_POLICY, "views": 1}

    def train_settings(self) -> dict[str, Any]:
        """Return the settings that all students share."""
        return {
            "student": "vit_tiny_patch16_224",
            "student_kwargs": STUDENT,
            "mean": MEAN,
            "std": STD,
            "batch_size": BATCH,
            "steps": self.steps,
            "warmup_steps": self.steps // 10,
            "lr": 3e-3,
            "weight_decay": 0.05,
            "clip_grad": 1.0,
            "workers": 1,
            "threads": 1,
            "checkpoint_interval": self.steps,
            "val_interval": 0,
        }

    def write(self, folder: Path) -> None:
        """Write ``precompute.yaml``, ``precompute-mixed.yaml``, ``precompute-test.yaml`` and ``train.yaml``."""
        for name, settings in (
            ("precompute", self.precompute_settings()),
            ("precompute-mixed", self.mixed_settings()),
            ("precompute-test", self.test_settings()),
            ("train", self.train_settings()),
        ):
            text = yaml.safe_dump(settings, sort_keys=False)
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
