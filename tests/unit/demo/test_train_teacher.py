"""The script that trained the demo's teacher, on a handful of pictures."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from kdcache.demo.teacher import fashion_cnn
from kdcache.demo.train_teacher import augment, top1, train


def _write_idx(folder: Path, split: str, count: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
    )
    (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(struct.pack(">2i", 2049, count) + labels.tobytes())
    )


def test_training_says_one_line_an_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_idx(tmp_path, "train", 256)
    train(tmp_path, epochs=2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1]


def test_augmentation_keeps_the_shape_and_follows_its_generator() -> None:
    images_B1HW = torch.rand(8, 1, 28, 28)
    first = augment(images_B1HW, torch.Generator().manual_seed(1))
    assert first.shape == images_B1HW.shape
    assert torch.equal(first, augment(images_B1HW, torch.Generator().manual_seed(1)))


def test_top1_is_a_share() -> None:
    assert 0.0 <= top1(fashion_cnn(), torch.zeros(600, 1, 28, 28), torch.zeros(600).long()) <= 1.0
