"""A vision transformer learns from a convolution and an involution teacher (Habib et al. 2023).

``python docs/recipes/convolution_involution.py --out FOLDER``: two small teachers are trained on the 200 labelled
pictures that come with kdcache, cached in one pass together with their mean, and four students are trained from that
cache. The last line of the output is JSON.
"""

import argparse
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.data.index import index_shard
from kdcache.data.shards import ShardReader
from kdcache.demo.recipe import LABELLED, MEAN, STD, TEST, TEST_POLICY, UNLABELLED, Recipe
from kdcache.demo.run import Shell
from kdcache.demo.teacher import fashion_cnn
from kdcache.demo.train_teacher import augment, top1
from kdcache.students import build_student  # noqa: F401 - with it timm knows the RedNets

ENSEMBLE = "both"


def pictures(shard: str) -> tuple[Tensor, Tensor]:
    """Return all samples of a shard: normalised pictures (N, 1, 28, 28) and labels (N,)."""
    reader, num_samples = ShardReader(index_shard(shard)), len(index_shard(shard))
    raws = [reader.read(row) for row in range(num_samples)]
    images_NHW = np.stack([np.asarray(Image.open(io.BytesIO(raw.encoded)).convert("L")) for raw in raws])
    images_N1HW = torch.from_numpy(images_NHW).float().div(255).unsqueeze(1)
    return (images_N1HW - MEAN[0]) / STD[0], torch.tensor([raw.label for raw in raws])


def train_teacher(model: nn.Module, epochs: int) -> nn.Module:
    """Train with labels only on shifted, flipped and erased pictures."""
    images_N1HW, labels_N = pictures(LABELLED)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    steps = epochs * -(-len(labels_N) // 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for rows_B in torch.randperm(len(labels_N), generator=generator).split(50):
            views_B1HW = augment(images_N1HW[rows_B], generator)
            logits_BC = model(views_B1HW.expand(-1, 3, -1, -1))
            loss = nn.functional.cross_entropy(logits_BC, labels_N[rows_B], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


class Mean(nn.Module):
    """The mean of networks' probabilities: what ``--combine mean-prob`` stores."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Return log-probs (B, 10)."""
        return torch.stack([network(images_B3HW).softmax(1) for network in self.networks]).mean(0).log()


def make_teachers(out: Path, epochs: int) -> dict[str, float]:
    """Train both teachers, write their weights; return their and their mean's accuracy on the test pictures."""
    images_N1HW, labels_N = pictures(TEST)
    torch.manual_seed(0)
    networks = {"convolution": fashion_cnn(), "involution": timm.create_model("rednet_tiny", num_classes=10)}
    accuracies = {}
    for name, network in networks.items():
        train_teacher(network, epochs)
        accuracies[name] = top1(network, images_N1HW.expand(-1, 3, -1, -1), labels_N)
        save_file(network.state_dict(), out / f"{name}.safetensors")
    mean = Mean(list(networks.values()))
    return accuracies | {ENSEMBLE: top1(mean, images_N1HW.expand(-1, 3, -1, -1), labels_N)}


def precompute(shell: Shell, out: Path, recipe: Recipe) -> str:
    """Cache both teachers and their mean in one pass over all pictures."""
    seen = {"mean": MEAN, "std": STD, "size": 28}
    models: dict[str, dict[str, Any]] = {
        "convolution": {"model": "kdcache.demo.teacher:fashion_cnn"},
        "involution": {"model": "rednet_tiny", "kwargs": {"num_classes": 10}},
    }
    settings = recipe.precompute_settings() | {
        "teachers": [
            {"name": name, "checkpoint": str(out / f"{name}.safetensors")} | model | seen
            for name, model in models.items()
        ],
        "combine": [{"how": "mean-prob", "name": ENSEMBLE}],
    }
    (out / "precompute.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    cache = str(out / "train.zarr")
    shell.run("precompute", LABELLED, UNLABELLED, "--cache", cache, "--config", str(out / "precompute.yaml"))
    return cache


def train_student(shell: Shell, out: Path, recipe: Recipe, cache: str, teacher: str | None) -> float:
    """Train one student, with labels only where no teacher is named; return its test accuracy."""
    name = teacher or "labels-only"
    weights = {"task_loss_weight": 0.0 if teacher else 1.0, "distill_loss_weight": 1.0 if teacher else 0.0}
    settings = (
        recipe.train_settings() | weights | {"val_policy": TEST_POLICY, "teacher": teacher or "convolution"}
    )
    (out / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    shards = (LABELLED, UNLABELLED) if teacher else (LABELLED,)
    folder = str(out / "runs" / name)
    words = ("--cache", cache, "--val", TEST, "--config", str(out / f"{name}.yaml"), "--out", folder)
    return float(shell.facts("train", *shards, *words)["evaluation"]["top1"])


def main() -> None:
    """Run all of it and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher-epochs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--views", type=int, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = dataclasses.replace(Recipe(), views=options.views, epochs=options.epochs)
    shell = Shell(lambda line: print(line, file=sys.stderr))
    teachers = make_teachers(options.out, options.teacher_epochs)
    cache = precompute(shell, options.out, recipe)
    students = {
        name or "labels-only": train_student(shell, options.out, recipe, cache, name)
        for name in (None, "convolution", "involution", ENSEMBLE)
    }
    for name, accuracy in teachers.items():
        print(f"teacher {name:<12} {accuracy:.1%} of the test pictures")
    for name, accuracy in students.items():
        print(f"student of {name:<12} {accuracy:.1%} of the test pictures")
    print(json.dumps({"teachers": teachers, "students": students, "cache": cache}))


if __name__ == "__main__":
    main()
