"""Train the demo's teacher on the 60,000 Fashion-MNIST training images; how the shipped weights were made.

``python -m kdcache.demo.train_teacher --data /usr/share/datasets/fashion-mnist --out teacher.safetensors``

The demo's 1,000 test images come from the other split, which is read here once, at the end, to report.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcache.demo.make_data import read_split
from kdcache.demo.teacher import IMAGE_MEAN, IMAGE_STD, fashion_cnn

__all__ = ["augment", "main", "top1", "train"]

BATCH = 128
SHIFT = 2


def augment(images_B1HW: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 pixels, flip every second picture, erase a box in three of ten (new tensor)."""
    batch, _, height, width = images_B1HW.shape
    offsets_B2 = torch.randint(0, 2 * SHIFT + 1, (batch, 2), generator=generator)
    flips_B = torch.rand(batch, generator=generator) < 0.5
    padded = nn.functional.pad(images_B1HW, [SHIFT] * 4)
    views = torch.empty_like(images_B1HW)
    for row, (top, left) in enumerate(offsets_B2.tolist()):
        view = padded[row, :, top : top + height, left : left + width]
        views[row] = view.flip(-1) if flips_B[row] else view
    return _erase(views, generator)


def _erase(images_B1HW: Tensor, generator: torch.Generator) -> Tensor:
    for image in images_B1HW:
        if torch.rand((), generator=generator) < 0.3:
            top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
            height, width = torch.randint(4, 13, (2,), generator=generator).tolist()
            image[:, top : top + height, left : left + width] = 0.0
    return images_B1HW


def _as_tensor(data: Path, split: str) -> tuple[Tensor, Tensor]:
    images_NHW, labels_N = read_split(data, split)
    images_N1HW = torch.from_numpy(images_NHW).float().div(255).unsqueeze(1)
    return (images_N1HW - IMAGE_MEAN[0]) / IMAGE_STD[0], torch.from_numpy(labels_N).long()


def top1(model: nn.Module, images_N1HW: Tensor, labels_N: Tensor) -> float:
    """Return the share of pictures that ``model`` names correctly."""
    model.eval()
    with torch.inference_mode():
        right = sum(
            (model(images).argmax(1) == labels).sum().item()
            for images, labels in zip(torch.split(images_N1HW, 500), torch.split(labels_N, 500), strict=True)
        )
    return float(right) / len(labels_N)


def train(data: Path, *, epochs: int) -> nn.Module:
    """Train from scratch: AdamW at 3e-3 with a cosine to zero, label loss only; one JSON line an epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images_N1HW, labels_N = _as_tensor(data, "train")
    model = fashion_cnn().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    steps_per_epoch = len(labels_N) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=3e-3, total_steps=epochs * steps_per_epoch, pct_start=0.05, cycle_momentum=False
    )
    for epoch in range(epochs):
        start = time.perf_counter()
        model.train()
        order_N = torch.randperm(len(labels_N), generator=generator)[: steps_per_epoch * BATCH]
        total = torch.zeros(())
        for rows_B in torch.split(order_N, BATCH):
            logits_BC = model(augment(images_N1HW[rows_B], generator))
            loss = nn.functional.cross_entropy(logits_BC, labels_N[rows_B])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
        _say(
            epoch=epoch,
            loss=round(total.item() / steps_per_epoch, 4),
            seconds=round(time.perf_counter() - start),
        )
    return model


def _say(**facts: float) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


def main() -> None:
    """Train, report the accuracy on the test split, and write the weights."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "teacher.safetensors")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = train(args.data, epochs=args.epochs)
    images_N1HW, labels_N = _as_tensor(args.data, "t10k")
    _say(test_top1=top1(model, images_N1HW, labels_N))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
