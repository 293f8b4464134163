"""The benchmark's second teacher: an involution network trained on every label there is.

The first one, a convolutional network trained on the same 60,000 labels, is shipped with the demo.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import kdcache.models.rednet  # noqa: F401 - for its effect: timm then knows the RedNets
from kdcache.demo.make_data import read_split
from kdcache.demo.recipe import TEACHER
from kdcache.demo.teacher import IMAGE_MEAN, IMAGE_STD
from kdcache.demo.train_teacher import augment

__all__ = ["CONVOLUTION", "INVOLUTION", "involution_teacher"]

ARCHITECTURE = "rednet_tiny"
BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.02

CONVOLUTION: dict[str, Any] = {**TEACHER, "name": "convolution"}
INVOLUTION: dict[str, Any] = {
    "name": "involution",
    "model": ARCHITECTURE,
    "mean": list(IMAGE_MEAN),
    "std": list(IMAGE_STD),
    "size": 28,
}


def involution_teacher(
    data: Path, folder: Path, *, epochs: int, say: Callable[[str], None]
) -> tuple[dict[str, Any], float]:
    """Return the teacher's settings for stage one, trained unless ``folder`` has it, and the CPU seconds that took."""
    path = folder / f"{ARCHITECTURE}.safetensors"
    started = time.process_time()
    if path.exists():
        say(f"the involution teacher is at hand: {path}")
    else:
        say(f"training the involution teacher, {epochs} epochs over every label")
        model = _train(data, epochs=epochs, say=say)
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, part)
        part.replace(path)
    return INVOLUTION | {"checkpoint": str(path)}, time.process_time() - started


def _train(data: Path, *, epochs: int, say: Callable[[str], None]) -> nn.Module:
    """Train as the demo's teacher was trained: AdamW with a cosine to zero, shifts, flips, erased boxes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images_N1HW, labels_N = _as_tensors(data)
    model: nn.Module = timm.create_model(ARCHITECTURE).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    batch = min(BATCH, len(labels_N))
    steps = len(labels_N) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.05, cycle_momentum=False
    )
    for epoch in range(epochs):
        started, total = time.process_time(), torch.zeros(())
        for rows_B in torch.randperm(len(labels_N), generator=generator)[: steps * batch].split(batch):
            images_B3HW = augment(images_N1HW[rows_B], generator).expand(-1, 3, -1, -1)
            loss = nn.functional.cross_entropy(model(images_B3HW), labels_N[rows_B])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
        seconds = time.process_time() - started
        say(f"epoch {epoch + 1} of {epochs}: loss {total.item() / steps:.3f}, {seconds:.0f} CPU seconds")
    return model


def _as_tensors(data: Path) -> tuple[Tensor, Tensor]:
    images_NHW, labels_N = read_split(data, "train")
    images_N1HW = torch.from_numpy(images_NHW).float().div(255).unsqueeze(1)
    return (images_N1HW - IMAGE_MEAN[0]) / IMAGE_STD[0], torch.from_numpy(labels_N).long()
