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
import yaml
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
    if out.exists():
        raise click.UsageError(f"{out} is there already, expected a new folder; name another one with --out")
    recipe = Recipe(views=views, epochs=epochs, seeds=seeds)
    _write_settings(out, recipe)
    shell = Shell(lambda line: click.echo(line, err=True))
    cache = ("--cache", str(out / "train.zarr"))
    shell.run("precompute", LABELLED, UNLABELLED, *cache, "--config", str(out / "precompute.yaml"))
    # Two at a time: the recipe keeps each run to one thread.
    with ThreadPoolExecutor(max_workers=2) as pool:
        pending = {
            kind: [pool.submit(_train, shell, out, kind, seed) for seed in range(seeds)] for kind in STUDENTS
        }
        students = {kind: _summary([run.result() for run in runs]) for kind, runs in pending.items()}
    gain = students["shifted"]["mean_top1"] - students["plain"]["mean_top1"]
    click.echo(json.dumps({"steps": recipe.steps, **students, "gain": round(gain, 2)}))


def _write_settings(out: Path, recipe: Recipe) -> None:
    """Write the settings of both stages: the demo's, with its own views of the test pictures."""
    out.mkdir(parents=True)
    train = recipe.train_settings() | {"val_policy": recipe.test_settings()["policy"]}
    for name, settings in (("precompute", recipe.precompute_settings()), ("train", train)):
        (out / f"{name}.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _train(shell: Shell, out: Path, kind: str, seed: int) -> dict[str, Any]:
    """Train one student from the cache."""
    return shell.facts(
        *("train", LABELLED, UNLABELLED, "--cache", str(out / "train.zarr"), "--val", TEST),
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
