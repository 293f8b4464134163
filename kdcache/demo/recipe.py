"""The demo's recipe: which views, which student, how long; written as files that the commands read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["DATA", "TEACHER", "TEACHER_WEIGHTS", "Recipe"]

DATA: Final = Path(__file__).parent / "data"
TEACHER: Final = "kdcache.demo.teacher:fashion_cnn"
TEACHER_WEIGHTS: Final = Path(__file__).parent / "teacher.safetensors"
NUM_PICTURES: Final = 2_000
BATCH: Final = 64

TRAIN_POLICY: Final[dict[str, Any]] = {"size": 28, "crop": "padded", "padding": 2, "flip": 0.5}
TEST_POLICY: Final[dict[str, Any]] = {"size": 28, "crop": "center", "crop_pct": 1.0, "flip": 0.0}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How large the demo is; the defaults are what its promise is made for."""

    views: int = 10
    epochs: int = 30
    seeds: int = 2

    @property
    def steps(self) -> int:
        """Optimiser steps of every run: epochs over all pictures, whatever a run trains on."""
        return max(1, self.epochs * NUM_PICTURES // BATCH)
