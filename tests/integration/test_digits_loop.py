"""The whole loop on handwritten digits: a CNN teacher, its cache, and a student that has 100 labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from kdcache.config.precompute import PrecomputeConfig
from kdcache.config.train import TrainConfig
from kdcache.precompute.run import precompute
from kdcache.train import TrainReport, train
from tests.support.digits import DigitsCNN, digits_cnn
from tests.support.shards import png_bytes, write_shard

TRAIN, LABELLED, STEPS = 1200, 100, 250
POLICY = {"size": 8, "crop": "padded", "padding": 1, "flip": 0.0}
STUDENT = {"img_size": 8, "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4, "weight_init": "jax"}
INPUT: dict[str, Any] = {"mean": (0.3, 0.3, 0.3), "std": (0.35, 0.35, 0.35)}


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 (1797, 8, 8, 3) and labels."""
    from sklearn.datasets import load_digits  # 2 s that all other test processes need not pay

    digits = load_digits()
    images_NHW = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    return np.repeat(images_NHW[..., None], 3, axis=3), digits.target.astype(np.int64)


def _train_teacher(images_NHW3: NDArray[np.uint8], labels_N: NDArray[np.int64], path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DigitsCNN()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        images_N = (torch.from_numpy(images_NHW3).permute(0, 3, 1, 2) / 255.0 - 0.3) / 0.35
        labels = torch.from_numpy(labels_N)
        for _ in range(12):
            for rows in torch.randperm(len(labels)).split(64):
                shifted = torch.roll(images_N[rows], tuple(torch.randint(-1, 2, (2,)).tolist()), dims=(2, 3))
                loss = nn.functional.cross_entropy(model(shifted), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    save_file(model.state_dict(), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write shards, train the teacher, and run stage one on training and test digits."""
    folder = tmp_path_factory.mktemp("digits")
    images_NHW3, labels_N = _digits()
    pictures = {number: png_bytes(image) for number, image in enumerate(images_NHW3)}
    known = {number: int(label) for number, label in enumerate(labels_N)}
    write_shard(folder / "labelled.tar", range(LABELLED), labels=known, images=pictures)
    write_shard(folder / "unlabelled.tar", range(LABELLED, TRAIN), labels={}, images=pictures)
    write_shard(folder / "test.tar", range(TRAIN, len(labels_N)), labels=known, images=pictures)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _train_teacher(images_NHW3[:TRAIN], labels_N[:TRAIN], folder / "teacher.safetensors")
    torch.set_num_threads(threads)
    center = {"size": 8, "crop": "center", "crop_pct": 1.0, "flip": 0.0}
    _precompute(folder, ["labelled.tar", "unlabelled.tar"], "train.zarr", POLICY, views=8)
    _precompute(folder, ["test.tar"], "test.zarr", center, views=1)
    return folder


def _precompute(folder: Path, shards: list[str], cache: str, policy: dict[str, Any], *, views: int) -> None:
    teacher = {
        "model": f"{digits_cnn.__module__}:{digits_cnn.__name__}",
        "checkpoint": str(folder / "teacher.safetensors"),
        "size": 8,
        **INPUT,
    }
    settings = {
        "shards": [str(folder / shard) for shard in shards],
        "cache": str(folder / cache),
        "teachers": [teacher],
        "policy": policy,
        "views": views,
        "readers": 0,
        "teacher_threads": 1,
        "device": "cpu",
    }
    precompute(PrecomputeConfig.parse(settings, where="test"), quiet=True)


def _train(folder: Path, shards: list[str], name: str, **changes: Any) -> TrainReport:
    settings = {
        "shards": [str(folder / shard) for shard in shards],
        "cache": str(folder / "train.zarr"),
        "val": [str(folder / "test.tar")],
        "val_cache": str(folder / "test.zarr"),
        "student": "vit_tiny_patch16_224",
        "student_kwargs": STUDENT,
        "out": str(folder / name),
        "batch_size": 50,
        "steps": STEPS,
        "warmup_steps": STEPS // 10,
        "lr": 3e-3,
        "clip_grad": 1.0,
        "val_interval": 0,
        "workers": 0,
        "threads": 1,
        "device": "cpu",
        "quiet": True,
    }
    return train(TrainConfig.parse(settings | INPUT | changes, where="test"))


def test_the_teachers_knowledge_replaces_labels(folder: Path) -> None:
    """Measured with 400 steps: 66 and 95 %."""
    labels_only = _train(folder, ["labelled.tar"], "labels", task_loss_weight=1, distill_loss_weight=0)
    distilled = _train(folder, ["labelled.tar", "unlabelled.tar"], "distilled")
    assert labels_only.evaluation is not None
    assert distilled.evaluation is not None
    figures = {"labels only": labels_only.evaluation.facts(), "distilled": distilled.evaluation.facts()}
    assert distilled.evaluation.top1 is not None
    assert labels_only.evaluation.top1 is not None
    assert distilled.evaluation.top1 - labels_only.evaluation.top1 >= 0.15, json.dumps(figures, indent=2)
    assert labels_only.samples == distilled.samples
    assert (distilled.evaluation.agreement or 0) > (labels_only.evaluation.agreement or 0)
