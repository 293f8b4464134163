#!/usr/bin/env python
"""Cached targets in timm's training tasks: ``python timm_task.py 'train-{000..146}.tar' --cache cache.zarr``.

``CachedLogitTask`` stands where ``timm.task.LogitDistillationTask`` would: the same weights, temperature, EMA,
checkpoint state and results; in place of labels it takes the batch, which has labels and cached targets.
"""

import json
from typing import Any, Final

import click
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor

from kdcache import distill_loader
from kdcache.train.timm_task import CachedLogitTask

__all__ = ["main"]

STUDENT: Final[dict[str, Any]] = {
    "model_name": "vit_tiny_patch16_224",
    "img_size": 28,
    "patch_size": 7,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
}


def normalise(images_B3HW: Tensor) -> Tensor:
    """Turn uint8 views into the student's input, on their device."""
    return (images_B3HW / 255.0 - 0.286) / 0.353


@click.command()
@click.argument("shards", nargs=-1, required=True)
@click.option("--cache", required=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--batch-size", default=40, show_default=True)
@click.option("--workers", default=0, show_default=True)
def main(shards: tuple[str, ...], cache: str, epochs: int, batch_size: int, workers: int) -> None:
    """Train a student from the views and targets of a cache."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = distill_loader(shards, cache=cache, batch_size=batch_size, num_workers=workers)
    student = timm.create_model(num_classes=loader.cache.identity.num_classes, **STUDENT).to(device)
    task = CachedLogitTask(student, task_loss_weight=0.2, temperature=2.0, device=device, verbose=False)
    task.setup_ema(decay=0.9)
    optimiser = create_optimizer_v2(student, opt="adamw", lr=3e-3, weight_decay=0.05)
    scheduler = CosineLRScheduler(optimiser, t_initial=epochs * loader.num_batches, t_in_epochs=False)
    losses = []
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            on_device = batch.to(device, non_blocking=True)
            result = task(normalise(on_device.images_B3HW), on_device)
            result["loss"].backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(result["kd_loss"].item())
            task.update_ema(step=len(losses))
            scheduler.step_update(len(losses))
    weights = sorted(name for name in task.get_checkpoint_state(ema=True))
    views = len(losses) * batch_size
    click.echo(json.dumps({"loop": "timm task", "views": views, "losses": losses, "checkpoint": weights}))


if __name__ == "__main__":
    main()
