#!/usr/bin/env python
"""Cached targets in a webdataset pipeline of your own.

``python webdataset_pipeline.py 'train-{000..146}.tar' --cache cache.zarr``

``join_cached`` is one stage of the pipeline, before any decoding: it renders the cached view of each sample again,
checks it, and adds its targets.
"""

import json
from dataclasses import asdict
from typing import Any, Final

import click
import timm
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader
from webdataset import utils

from kdcache import DistillBatch, kl
from kdcache.data.collate import collate_joined
from kdcache.data.foreign import expand_urls
from kdcache.data.webdataset_join import CachedJoin, join_cached

__all__ = ["main"]

STUDENT: Final[dict[str, Any]] = {
    "model_name": "vit_tiny_patch16_224",
    "img_size": 28,
    "patch_size": 7,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
}

utils.enforce_security = True  # what WDS_SECURE=1 means: run no pipe:, unpickle nothing


def normalise(images_B3HW: Tensor) -> Tensor:
    """Turn uint8 views into the student's input, on their device."""
    return (images_B3HW / 255.0 - 0.286) / 0.353


def open_loader(
    stage: CachedJoin, shards: tuple[str, ...], *, batch_size: int, workers: int
) -> "DataLoader[DistillBatch]":
    """Return a pipeline as webdataset's users write it, with one more stage."""
    pipeline = (
        wds.WebDataset(expand_urls(shards), shardshuffle=100, nodesplitter=wds.split_by_node)
        .compose(stage)
        .shuffle(500)
        .batched(batch_size, collation_fn=collate_joined, partial=False)
    )
    return DataLoader(pipeline, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


@click.command()
@click.argument("shards", nargs=-1, required=True)
@click.option("--cache", required=True)
@click.option("--epochs", default=4, show_default=True)
@click.option("--batch-size", default=40, show_default=True)
@click.option("--workers", default=2, show_default=True, help="At most one a shard.")
def main(shards: tuple[str, ...], cache: str, epochs: int, batch_size: int, workers: int) -> None:
    """Train a student from the views and targets of a cache."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stage = join_cached(cache, shards)
    loader = open_loader(stage, shards, batch_size=batch_size, workers=workers)
    student = timm.create_model(num_classes=stage.cache.identity.num_classes, **STUDENT).to(device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for epoch in range(epochs):
        stage.set_epoch(epoch)  # it decides the views
        for batch in loader:
            on_device = batch.to(device, non_blocking=True)
            student_logits_BC = student(normalise(on_device.images_B3HW))
            loss = kl(student_logits_BC, on_device.teacher, temperature=2.0)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
    facts = {"loop": "webdataset", "views": len(losses) * batch_size, "losses": losses}
    click.echo(json.dumps(facts | {"counts": asdict(stage.counts)}))


if __name__ == "__main__":
    main()
