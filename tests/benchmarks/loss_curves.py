"""Is training from the cache training with the live teacher? Loss curves beside those of timm's own tasks.

Run ``python -m tests.benchmarks.loss_curves [--steps 200]``. The reference is a loop written here around timm's
``LogitDistillationTask`` and ``TokenDistillationTask``, which run the teacher in every step: the same first weights,
views, optimiser and schedule. Dense float32 targets must give the same curve; a cache of the best K classes that of the
live teacher whose logits are cut to the same K with the same tail; beside it, the distance to the uncut teacher.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.task import LogitDistillationTask, TokenDistillationTask
from timm.utils.clip_grad import dispatch_clip_grad
from torch import Tensor, nn

from kdcache.config.precompute import PrecomputeConfig
from kdcache.config.train import TrainConfig
from kdcache.data.batch import DistillBatch
from kdcache.data.loader import distill_loader
from kdcache.demo.recipe import BATCH, LABELLED, MEAN, STD, STUDENT, TEACHER, TRAIN_POLICY, UNLABELLED
from kdcache.demo.teacher import fashion_cnn
from kdcache.logits import top_k
from kdcache.losses import TeacherTargets, kl
from kdcache.precompute import precompute
from kdcache.store import open_cache
from kdcache.students import build_student
from kdcache.train import train
from kdcache.train.optim import build_optimizer, build_scheduler
from kdcache.train.plan import plan_run

__all__ = ["Curves", "main", "measure"]

KEPT = 4
# Rounded targets give rounded gradients. AdamW divides each by its own size, so small ones change sign and runs part:
# at a rate of 1e-3 by 0.06 (T = 1) and 0.27 (T = 2) within 200 steps. SGD learns as much here, and they stay together.
CALM: dict[str, Any] = {"opt": "sgd", "lr": 0.02, "momentum": 0.9}
DISTILLED = "deit_tiny_distilled_patch16_224"
PLAIN = "vit_tiny_patch16_224"

StepLoss = Callable[[Tensor, DistillBatch], Tensor]


@dataclass(frozen=True)
class Curves:
    """The largest difference between the losses of equal steps.

    Attributes:
        name: what was compared.
        difference: cached against live.
        goal: what it must stay below.
        to_dense: cached against the live teacher with all classes, where the cache is cut.
    """

    name: str
    difference: float
    goal: float
    to_dense: float | None = None


class Bench:
    """Caches by the demo's teacher, and the teacher itself.

    timm's tasks want labels: ``dense`` holds the 200 pictures that have one; ``cut`` holds others as well.
    """

    def __init__(self, folder: Path, steps: int, unlabelled: str) -> None:
        self._folder, self._steps = folder, steps
        self.teacher = fashion_cnn().eval()
        self.teacher.load_state_dict(load_file(TEACHER["checkpoint"]))
        self.teacher.pretrained_cfg = {"mean": MEAN, "std": STD}  # type: ignore[assignment]  # timm's task reads it
        self._shards = {"dense": [LABELLED], "cut": [LABELLED, unlabelled]}
        self._precompute("dense", encoding="float32")
        self._precompute("cut", encoding="gap8", top_k=KEPT)

    def _precompute(self, name: str, **teacher: Any) -> None:
        settings = {
            "shards": self._shards[name],
            "cache": str(self._folder / f"{name}.zarr"),
            "teachers": [TEACHER | teacher],
            "policy": TRAIN_POLICY,
            "views": 4,
            "readers": 0,
            "device": "cpu",
        }
        precompute(PrecomputeConfig.parse(settings, where="benchmark"), quiet=True)

    def config(self, name: str, cache: str, **changes: Any) -> TrainConfig:
        """Return the settings of a run."""
        settings = {
            "shards": self._shards[cache],
            "cache": str(self._folder / f"{cache}.zarr"),
            "out": str(self._folder / name),
            "student": PLAIN,
            "student_kwargs": STUDENT,
            "mean": MEAN,
            "std": STD,
            "batch_size": BATCH,
            "steps": self._steps,
            "lr": 1e-3,
            "clip_grad": 1.0,
            "workers": 0,
            "threads": 1,
            "device": "cpu",
            "log_interval": 1,
            "quiet": True,
        }
        return TrainConfig.parse(settings | changes, where="benchmark")

    def cached(self, config: TrainConfig) -> list[float]:
        """Train from the cache."""
        train(config)
        lines = map(json.loads, (Path(config.out) / "log.jsonl").read_text(encoding="utf-8").splitlines())
        return [line["loss"] for line in lines if line["kind"] == "train"]

    def live(self, config: TrainConfig, make_loss: Callable[[nn.Module], StepLoss]) -> list[float]:
        """Train the same student on the same views with the teacher in the loop."""
        torch.set_num_threads(1)
        cache = open_cache(config.cache)
        student = build_student(
            config.student, num_classes=10, seed=config.seed, kwargs=STUDENT, mean=config.mean, std=config.std
        )
        student.separate_heads(separate=True)
        student.model.pretrained_cfg = {"mean": MEAN, "std": STD}  # type: ignore[assignment]
        loader = distill_loader(
            config.shards,
            cache=cache,
            batch_size=config.batch_size,
            run_seed=config.seed,
            with_targets=False,
        )
        plan = plan_run(config, num_samples=loader.num_samples, num_batches=loader.num_batches, num_views=4)
        optimizer = build_optimizer(config, student.model)
        scheduler = build_scheduler(config, optimizer, plan)
        preprocess, loss_of = student.preprocess((28, 28)), make_loss(student.model)
        student.model.train()
        losses: list[float] = []
        for epoch in range(plan.steps):
            for batch in loader.epoch(epoch):
                loss = loss_of(preprocess(batch.images_B3HW), batch)
                loss.backward()
                dispatch_clip_grad(list(student.model.parameters()), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                scheduler.step_update(len(losses))
                if len(losses) == plan.steps:
                    return losses
        return losses


def _by_task(task: nn.Module) -> StepLoss:
    return lambda images_B3HW, batch: task(images_B3HW, batch.labels_B)["loss"]


def _logit_task(bench: Bench, **weights: Any) -> Callable[[nn.Module], StepLoss]:
    return lambda student: _by_task(
        LogitDistillationTask(student, bench.teacher, nn.CrossEntropyLoss(), verbose=False, **weights)
    )


def _token_task(bench: Bench) -> Callable[[nn.Module], StepLoss]:
    return lambda student: _by_task(
        TokenDistillationTask(
            student,
            bench.teacher,
            nn.CrossEntropyLoss(),
            distill_type="hard",
            task_loss_weight=0.5,
            verbose=False,
        )
    )


def _live_kl(bench: Bench, temperature: float, kept: int) -> Callable[[nn.Module], StepLoss]:
    """Learn from the live teacher's best classes; all of them make it the textbook's KL."""

    def make(student: nn.Module) -> StepLoss:
        def loss(images_B3HW: Tensor, batch: DistillBatch) -> Tensor:
            with torch.no_grad():
                logits_BC = bench.teacher(images_B3HW)
            targets = TeacherTargets.from_numpy(top_k(logits_BC.numpy(), kept))
            return kl(student(images_B3HW), targets, temperature=temperature)

        return loss

    return make


def _apart(first: list[float], second: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def measure(steps: int, unlabelled: str = UNLABELLED) -> list[Curves]:
    """Return the comparisons; those of a cut are made on more pictures, without labels."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), steps, unlabelled)
        soft = {"task_loss_weight": 0.3, "distill_loss_weight": 0.7, "temperature": 2.0}
        config = bench.config("logit", "dense", **soft)
        apart = _apart(bench.cached(config), bench.live(config, _logit_task(bench, **soft)))
        found.append(Curves("float32, LogitDistillationTask, labels 0.3 + kl 0.7 at T = 2", apart, 1e-3))
        config = bench.config("token", "dense", student=DISTILLED)
        apart = _apart(bench.cached(config), bench.live(config, _token_task(bench)))
        found.append(Curves("float32, TokenDistillationTask, hard token", apart, 1e-3))
        for temperature in (1.0, 2.0):
            only = {"task_loss_weight": 0.0, "distill_loss_weight": 1.0, "temperature": temperature} | CALM
            config = bench.config(f"cut-{temperature:g}", "cut", **only)
            cached = bench.cached(config)
            apart, dense = (
                _apart(cached, bench.live(config, _live_kl(bench, temperature, kept))) for kept in (KEPT, 10)
            )
            what = f"gap8, best {KEPT} of 10 classes, tail bucket, SGD, T = {temperature:g}"
            found.append(Curves(what, apart, 5e-3, dense))
    return found


def main() -> None:
    """Print the differences beside their goals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    for curves in measure(options.steps):
        beside = "" if curves.to_dense is None else f"; from the uncut teacher {curves.to_dense:.1e}"
        print(
            f"{curves.name}: largest difference in {options.steps} steps {curves.difference:.1e}, "
            f"goal {curves.goal:g}{beside}"
        )


if __name__ == "__main__":
    main()
