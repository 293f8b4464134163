#!/usr/bin/env python
"""Cached targets in a LightningModule: ``python lightning_module.py 'train-{000..146}.tar' --cache cache.zarr``.

The order of views is the loader's own, for any number of devices: the trainer must not put a sampler of its own into
it (``use_distributed_sampler=False``).
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import click
import timm
import torch
from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor

from kdcache import DistillBatch, distill_loader, kl, open_cache
from kdcache.data.loader import DistillLoader

__all__ = ["CachedViews", "Student", "main"]

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


class Epochs:
    """What Lightning iterates over: one pass of the loader, the one that the trainer is at."""

    def __init__(self, loader: DistillLoader, trainer: Trainer) -> None:
        self._loader, self._trainer = loader, trainer

    def __len__(self) -> int:
        """Return the batches of a pass."""
        return self._loader.num_batches

    def __iter__(self) -> Iterator[DistillBatch]:
        """Begin the pass."""
        return self._loader.epoch(self._trainer.current_epoch)


class CachedViews(LightningDataModule):
    """Views of shards with their cached targets."""

    def __init__(self, shards: tuple[str, ...], **settings: Any) -> None:
        super().__init__()
        self._shards, self._settings = shards, settings

    def train_dataloader(self) -> Epochs:
        """Open the loader for this rank."""
        assert self.trainer is not None
        world, rank = self.trainer.world_size, self.trainer.global_rank
        loader = distill_loader(self._shards, world=world, rank=rank, **self._settings)
        return Epochs(loader, self.trainer)


class Student(LightningModule):
    """A student that learns from cached targets."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.model = timm.create_model(num_classes=num_classes, **STUDENT)
        self.losses: list[float] = []

    def training_step(self, batch: DistillBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, which Lightning has moved to the device."""
        del batch_idx
        loss = kl(self.model(normalise(batch.images_B3HW)), batch.teacher, temperature=2.0)
        self.log("loss", loss, batch_size=len(batch))
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


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
    seed_everything(0, verbose=False)
    student = Student(open_cache(cache).identity.num_classes)
    trainer = Trainer(
        max_epochs=epochs,
        devices=devices,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(student, CachedViews(shards, cache=cache, batch_size=batch_size, num_workers=workers))
    if trainer.is_global_zero:
        views = len(student.losses) * batch_size * trainer.world_size
        click.echo(json.dumps({"loop": "LightningModule", "views": views, "losses": student.losses}))


if __name__ == "__main__":
    main()
