#!/usr/bin/env python
"""Cached targets in a Lightning Fabric loop: ``python lightning_fabric.py 'train-{000..146}.tar' --cache cache.zarr``.

The order of views is the loader's own, for any number of devices: do not wrap it with ``fabric.setup_dataloaders``,
which would split it once more.
"""

import json
from typing import Any, Final

import click
import timm
import torch
from lightning.fabric import Fabric
from torch import Tensor

from kdcache import distill_loader, kl

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
@click.option("--batch-size", default=40, show_default=True, help="Of each device.")
@click.option("--workers", default=0, show_default=True)
@click.option("--devices", default=1, show_default=True)
def main(
    shards: tuple[str, ...], cache: str, *, epochs: int, batch_size: int, workers: int, devices: int
) -> None:
    """Train a student from the views and targets of a cache."""
    fabric = Fabric(devices=devices)
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    loader = distill_loader(
        shards,
        cache=cache,
        batch_size=batch_size,
        num_workers=workers,
        world=fabric.world_size,
        rank=fabric.global_rank,
    )
    model = timm.create_model(num_classes=loader.cache.identity.num_classes, **STUDENT)
    student, optimiser = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
    losses = []
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            on_device = fabric.to_device(batch)
            student_logits_BC = student(normalise(on_device.images_B3HW))
            loss = kl(student_logits_BC, on_device.teacher, temperature=2.0)
            fabric.backward(loss)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(fabric.all_reduce(loss.detach(), reduce_op="mean").item())
    if fabric.is_global_zero:
        views = len(losses) * batch_size * fabric.world_size
        click.echo(json.dumps({"loop": "Lightning Fabric", "views": views, "losses": losses}))


if __name__ == "__main__":
    main()
