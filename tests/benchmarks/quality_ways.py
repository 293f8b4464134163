"""What the quality benchmark does: which ways to train there are, and the commands that each takes."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdcache.demo.make_data import balanced_rows, read_split, write_shard
from kdcache.demo.recipe import BATCH, MEAN, STD, TEST_POLICY, TRAIN_POLICY
from kdcache.demo.recipe import STUDENT as DEMO_STUDENT
from tests.benchmarks.quality_report import MethodResult, SettingResult
from tests.benchmarks.quality_runs import Commands, Job, Outcome
from tests.benchmarks.quality_teacher import CONVOLUTION, INVOLUTION

__all__ = ["ENSEMBLE", "WAYS", "Benchmark", "Scale"]

SHARD = 1000
ENSEMBLE = "ensemble"
STUDENT = DEMO_STUDENT | {"depth": 2}
VIT = {"student": "vit_tiny_patch16_224"}
DISTILLED_VIT = {"student": "deit_tiny_distilled_patch16_224"}
WAYS: dict[str, dict[str, Any]] = {
    "labels only": VIT | {"task_loss_weight": 1.0, "distill_loss_weight": 0.0, "teacher": "convolution"},
    "soft": VIT | {"distill_loss": "kl", "temperature": 1.0, "teacher": "convolution"},
    "hard token": DISTILLED_VIT | {"distill_loss": "hard", "teacher": "convolution"},
    "ensemble": VIT | {"distill_loss": "kl", "temperature": 1.0, "teacher": ENSEMBLE},
    "self": VIT | {"distill_loss": "kl", "temperature": 1.0},
}
OTHER_SEED = 100
"""Added to the seed of a student that learns from a student: it shall not begin with its teacher's weights."""


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Attributes:
        images: pictures of the training split that the teachers see; a label count is at most that.
        views: augmentation seeds of each picture.
        workers: loader processes of a training, and reader processes of stage one.
    """

    labels: tuple[int, ...] = (1_000, 10_000)
    seeds: int = 3
    samples: int = 75_000
    images: int = 10_000
    views: int = 8
    test_images: int = 10_000
    teacher_epochs: int = 6
    workers: int = 1
    ways: tuple[str, ...] = tuple(WAYS)

    @property
    def steps(self) -> int:
        """Optimiser steps of every run."""
        return max(1, self.samples // BATCH)

    @property
    def shard(self) -> int:
        """Pictures of a shard; the same for every label count, which must end where a shard ends."""
        return math.gcd(SHARD, self.images, *self.labels)

    def seeds_for(self, labels: int) -> tuple[int, ...]:
        """Return the run seeds; soft targets read no labels, so a seed in two settings would be one run twice."""
        return tuple(range(self.seeds)) if labels < self.images else (self.seeds,)


class Benchmark:
    """One benchmark in a folder: ``data``, ``caches``, ``runs``."""

    def __init__(self, scale: Scale, *, data: Path, out: Path, commands: Commands) -> None:
        self.scale, self._data, self._out, self._commands = scale, data, out, commands
        self.stages_one: dict[str, Outcome] = {}

    def pack(self) -> None:
        """Write the test pictures, and for each label count the training pictures with so many labels."""
        self._claim()
        images_NHW, labels_N = read_split(self._data, "t10k")
        rows = balanced_rows(labels_N, self.scale.test_images)
        self._pack("test", images_NHW, labels_N.tolist(), rows)
        images_NHW, labels_N = read_split(self._data, "train")
        rows = balanced_rows(labels_N, self.scale.images)
        for count in self.scale.labels:
            known = set(rows[:count])
            labels = [label if row in known else None for row, label in enumerate(labels_N.tolist())]
            self._pack(f"labels-{count}", images_NHW, labels, rows)

    def _claim(self) -> None:
        """Stop if the folder was begun with other pictures: what is kept there would be taken for these."""
        pictures = {name: getattr(self.scale, name) for name in ("labels", "images", "test_images", "views")}
        wanted = json.dumps(pictures | {"data": str(self._data.resolve())})
        path = self._out / "pictures.json"
        if path.exists() and (found := path.read_text(encoding="utf-8")) != wanted:
            sys.exit(
                f"{self._out} was begun with {found}, not with {wanted}: choose another folder with --out"
            )
        self._out.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")

    def _pack(self, name: str, images_NHW: Any, labels: Sequence[int | None], rows: Sequence[int]) -> None:
        folder = self._out / "data" / name
        if folder.exists():
            return
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        for first in range(0, len(rows), self.scale.shard):
            samples = [
                (f"{row:05d}", images_NHW[row], labels[row]) for row in rows[first : first + self.scale.shard]
            ]
            write_shard(part / f"{first // self.scale.shard:03d}.tar", samples)
        part.rename(folder)

    def shards(self, name: str, count: int | None = None) -> list[str]:
        """Return the shards of a set, or those of its first ``count`` pictures."""
        shards = sorted(map(str, (self._out / "data" / name).glob("*.tar")))
        return shards if count is None else shards[: count // self.scale.shard]

    def cache(self, name: str, teachers: Sequence[dict[str, Any]], *, step: str = "") -> None:
        """Fill the cache of a set of pictures, or add teachers to it."""
        members = [teacher["name"] for teacher in teachers]
        both = {CONVOLUTION["name"], INVOLUTION["name"]} <= set(members)
        settings = {
            "shards": self.shards(name),
            "cache": str(self._out / "caches" / f"{name}.zarr"),
            "teachers": list(teachers),
            "combine": [{"how": "mean-prob", "name": ENSEMBLE}] if both else [],
            "policy": TEST_POLICY if name == "test" else TRAIN_POLICY,
            "views": 1 if name == "test" else self.scale.views,
            "readers": self.scale.workers,
            "teacher_check": False,
        }
        self.stages_one[name + step] = self._commands.run(Job(f"cache-{name}{step}", "precompute", settings))

    def teacher_accuracies(self) -> dict[str, float]:
        """Return the accuracy in percent of every teacher on the test pictures."""
        facts = self._commands.facts("info", str(self._out / "caches" / "test.zarr"))
        return {name: 100 * teacher["top1"] for name, teacher in facts["teachers"].items()}

    def training(self, labels: int, way: str, seed: int) -> Job:
        """Return the job that trains one student."""
        name = f"{way.replace(' ', '-')}-{labels}-{seed}"
        settings = {
            **WAYS[way],
            "shards": self.shards(f"labels-{labels}", labels if way == "labels only" else None),
            "cache": str(self._out / "caches" / f"labels-{labels}.zarr"),
            "val": self.shards("test"),
            "val_policy": TEST_POLICY,
            "val_batch_size": 250,
            "student_kwargs": STUDENT,
            "mean": MEAN,
            "std": STD,
            "batch_size": BATCH,
            "steps": self.scale.steps,
            "warmup_steps": self.scale.steps // 10,
            "opt": "adan",
            "lr": 1e-2,
            "weight_decay": 0.05,
            "clip_grad": 1.0,
            "device": "cpu",
            "workers": self.scale.workers,
            "threads": 1,
            "checkpoint_interval": self.scale.steps,
            "val_interval": 0,
            "seed": seed + OTHER_SEED if way == "self" else seed,
            "out": str(self._out / "runs" / name),
            "quiet": True,
        }
        if way == "self":
            settings["teacher"] = f"student-{seed}"
        return Job(name, "train", settings, folder=self._out / "runs" / name)

    def students_as_teachers(self, labels: int) -> list[dict[str, Any]]:
        """Return the soft students of a label count as teachers for stage one."""
        return [
            {
                "name": f"student-{seed}",
                "model": VIT["student"],
                "kwargs": STUDENT | {"num_classes": 10},
                "checkpoint": f"{self.training(labels, 'soft', seed).folder}/model.safetensors",
                "mean": MEAN,
                "std": STD,
                "size": 28,
            }
            for seed in self.scale.seeds_for(labels)
        ]

    def settings(self, teachers: Sequence[dict[str, Any]]) -> tuple[SettingResult, ...]:
        """Run both stages for every label count; the students that learn from students come last."""
        for labels in self.scale.labels:
            self.cache(f"labels-{labels}", teachers)
        keys = [
            (labels, way, seed)
            for labels in self.scale.labels
            for way in self.scale.ways
            for seed in self.scale.seeds_for(labels)
        ]
        found = self._train([key for key in keys if key[1] != "self"])
        if "self" in self.scale.ways:
            for labels in self.scale.labels:
                self.cache(f"labels-{labels}", self.students_as_teachers(labels), step="-students")
            found |= self._train([key for key in keys if key[1] == "self"])
        return tuple(self._setting(labels, found) for labels in self.scale.labels)

    def _train(self, keys: Sequence[tuple[int, str, int]]) -> dict[tuple[int, str, int], Outcome]:
        outcomes = self._commands.run_all([self.training(*key) for key in keys])
        return dict(zip(keys, outcomes, strict=True))

    def _setting(self, labels: int, found: dict[tuple[int, str, int], Outcome]) -> SettingResult:
        seeds = self.scale.seeds_for(labels)
        methods = {}
        for way in self.scale.ways:
            runs = [found[labels, way, seed] for seed in seeds]
            methods[way] = MethodResult(
                seeds=seeds,
                top1=tuple(100 * run.facts["evaluation"]["top1"] for run in runs),
                wall_seconds=tuple(run.wall_seconds for run in runs),
                cpu_seconds=tuple(run.cpu_seconds for run in runs),
            )
        return SettingResult(labels, self.scale.images, methods)
