#!/usr/bin/env python
"""Cached targets in a plain PyTorch loop: ``python plain_pytorch.py 'train-{000..146}.tar' --cache cache.zarr``."""

import json
from typing import Any, Final

import click
import timm
import torch
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
@click.option("--batch-size", default=40, show_default=True)
@click.option("--workers", default=0, show_default=True)
def main(shards: tuple[str, ...], cache: str, epochs: int, batch_size: int, workers: int) -> None:
    """Train a student from the views and targets of a cache."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = distill_loader(shards, cache=cache, batch_size=batch_size, num_workers=workers)
    student = timm.create_model(num_classes=loader.cache.identity.num_classes, **STUDENT).to(device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for epoch in range(epochs):
        for batch in loader.epoch(epoch):
            on_device = batch.to(device, non_blocking=True)
            student_logits_BC = student(normalise(on_device.images_B3HW))
            loss = kl(student_logits_BC, on_device.teacher, temperature=2.0)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
    click.echo(json.dumps({"loop": "plain PyTorch", "views": len(losses) * batch_size, "losses": losses}))


if __name__ == "__main__":
    main()
