"""The demo's teacher and its shipped weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import kdcache.demo
from kdcache.demo.teacher import fashion_cnn

WEIGHTS = Path(kdcache.demo.__file__).parent / "teacher.safetensors"


def test_shipped_weights_fit_the_teacher() -> None:
    fashion_cnn().load_state_dict(load_file(WEIGHTS))


def test_teacher_is_small() -> None:
    assert 0.25e6 < sum(weight.numel() for weight in fashion_cnn().parameters()) < 0.3e6


def test_teacher_gives_one_logit_per_class() -> None:
    model = fashion_cnn().eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


def test_equal_channels_are_read_once() -> None:
    images_B3HW = torch.rand(1, 1, 28, 28).expand(2, 3, 28, 28).clone()
    images_B3HW[1, 1:] = 0.0
    model = fashion_cnn().eval()
    with torch.inference_mode():
        logits_BC = model(images_B3HW)
    torch.testing.assert_close(logits_BC[0], logits_BC[1])


def test_the_header_of_the_weights_is_plain() -> None:
    with WEIGHTS.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert all(entry["dtype"] in {"F32", "I64"} for name, entry in header.items() if name != "__metadata__")
