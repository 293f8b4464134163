#!/usr/bin/env python
"""Shifted patches on little data: the demo's ViT with and without them, distilled from the cached CNN.

``python docs/recipes/small_data.py --out small-data-run`` caches the demo's teacher once, trains both students
from that cache, and prints what came out as one line of JSON, after the commands it ran.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any, Final

import click
from safetensors.numpy import load_file

from kdcache.demo.recipe import LABELLED, TEST, UNLABELLED, Recipe
from kdcache.demo.run import Shell

__all__ = ["main"]

STUDENTS: Final = {"plain": "vit_tiny_patch16_224", "shifted": "vit_tiny_shifted_patch16_224"}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("small-data-run"), show_default=True)
@click.option("--views", type=int, default=10, show_default=True, help="Views cached per picture.")
@click.option("--epochs", type=int, default=20, show_default=True, help="Epochs over the 2,000 pictures.")
@click.option("--seeds", type=int, default=2, show_default=True, help="Runs of each student.")
def main(out: Path, views: int, epochs: int, seeds: int) -> None:
    """Compare a tiny ViT with and without shifted patches; OUT is a new folder."""
    out.mkdir(parents=True)
    recipe = Recipe(views=views, epochs=epochs, seeds=seeds)
    recipe.write(out)
    shell = Shell(lambda line: click.echo(line, err=True))
    teacher_top1 = _cache_the_teacher(shell, out)
    # Two at a time: the recipe keeps each run to one thread.
    with ThreadPoolExecutor(max_workers=2) as pool:
        pending = {
            kind: [pool.submit(_train, shell, out, kind, seed) for seed in range(seeds)] for kind in STUDENTS
        }
        students = {kind: _summary([run.result() for run in runs]) for kind, runs in pending.items()}
    gain = students["shifted"]["mean_top1"] - students["plain"]["mean_top1"]
    facts = {"steps": recipe.steps, "teacher_top1": teacher_top1, **students, "gain": round(gain, 2)}
    click.echo(json.dumps(facts))


def _cache_the_teacher(shell: Shell, out: Path) -> float:
    """Run stage one on the training and the test pictures; return the teacher's accuracy on the latter."""
    train, test = str(out / "train.zarr"), str(out / "test.zarr")
    shell.run("precompute", LABELLED, UNLABELLED, "--cache", train, "--config", str(out / "precompute.yaml"))
    shell.run("precompute", TEST, "--cache", test, "--config", str(out / "precompute-test.yaml"))
    (teacher,) = shell.facts("info", test)["teachers"].values()
    return 100 * float(teacher["top1"])


def _train(shell: Shell, out: Path, kind: str, seed: int) -> dict[str, Any]:
    """Train one student from the cache."""
    return shell.facts(
        *("train", LABELLED, UNLABELLED, "--cache", str(out / "train.zarr")),
        *("--val", TEST, "--val-cache", str(out / "test.zarr")),
        *("--config", str(out / "train.yaml")),
        *("--student", STUDENTS[kind], "--seed", str(seed)),
        *("--out", str(out / "runs" / f"{kind}-{seed}")),
        label=f"{kind} {seed}",
    )


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracies in percent, and what the student costs."""
    top1 = [round(100 * run["evaluation"]["top1"], 2) for run in runs]
    weights = load_file(runs[0]["weights"])
    return {
        "student": runs[0]["student"],
        "parameters": sum(tensor.size for tensor in weights.values()),
        "top1": top1,
        "mean_top1": round(mean(top1), 2),
        "seconds": [round(run["seconds"], 1) for run in runs],
    }


if __name__ == "__main__":
    main()
