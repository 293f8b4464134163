"""FKD's cache, from its published format: for each image one file by ``torch.save`` with all of its crops."""

from pathlib import Path

import numpy as np
import torch

from kdcache.logits import Float32, Int32

__all__ = ["CROPS_OF_A_READ", "read_images", "write_images"]

CROPS_OF_A_READ = 4
"""Crops that its training takes of an image at a time."""

_PICKLE_PROTOCOL = 2


def write_images(folder: Path, ids_NVK: Int32, probs_NVK: Float32) -> None:
    """Write the files of N images with V crops each: their boxes, flips, and (class id, probability) pairs."""
    rng = np.random.Generator(np.random.PCG64(0))
    for number, (ids_VK, probs_VK) in enumerate(zip(ids_NVK, probs_NVK, strict=True)):
        boxes_V4 = rng.random((len(ids_VK), 4), dtype=np.float32)
        flips_V = rng.random(len(ids_VK)) < 0.5
        pairs_VK2 = np.stack([ids_VK.astype(np.float32), probs_VK], axis=2)
        torch.save([boxes_V4, flips_V, pairs_VK2], _path(folder, number), pickle_protocol=_PICKLE_PROTOCOL)


def read_images(folder: Path, numbers: range) -> tuple[Int32, Float32]:
    """Return the class ids and probabilities of some crops of each image; the file holds pickled NumPy arrays."""
    ids, probs = [], []
    for number in numbers:
        _, _, pairs_VK2 = torch.load(_path(folder, number), weights_only=False)
        some_VK2 = pairs_VK2[:CROPS_OF_A_READ]
        ids.append(some_VK2[:, :, 0].astype(np.int32))
        probs.append(some_VK2[:, :, 1])
    return np.concatenate(ids), np.concatenate(probs)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.tar"  # its suffix; it is a zip
