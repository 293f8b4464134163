"""Joined samples of a pipeline put together as one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from kdcache.data.batch import DistillBatch
from kdcache.logits import TopKLogits
from kdcache.losses.targets import TeacherTargets

__all__ = ["collate_joined"]


def collate_joined(samples: Sequence[Mapping[str, Any]]) -> DistillBatch:
    """Return joined samples as one batch: ``.batched(64, collation_fn=collate_joined)``."""
    names = tuple(samples[0]["targets"])
    return DistillBatch(
        images_B3HW=torch.stack([sample["image"] for sample in samples]),
        labels_B=torch.tensor([sample["label"] for sample in samples], dtype=torch.int64),
        teachers={name: _stacked([sample["targets"][name] for sample in samples]) for name in names},
        keys=tuple(sample["__key__"] for sample in samples),
        aug_seeds_B=torch.tensor([sample["aug_seed"] for sample in samples], dtype=torch.int64),
    )


def _stacked(cuts: Sequence[TopKLogits]) -> TeacherTargets:
    joined: dict[str, Any] = {}
    for field in fields(TopKLogits):
        column = [getattr(cut, field.name) for cut in cuts]
        joined[field.name] = np.concatenate(column) if isinstance(column[0], np.ndarray) else column[0]
    return TeacherTargets.from_numpy(TopKLogits(**joined))
