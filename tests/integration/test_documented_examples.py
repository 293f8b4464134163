"""The Python that the README and the library page show runs as it stands, but for names and devices."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdcache.config.precompute import PrecomputeConfig
from kdcache.demo.recipe import LABELLED, Recipe
from kdcache.precompute import precompute
from tests.support.source import ROOT


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache four views of the demo's labelled pictures."""
    path = tmp_path_factory.mktemp("cache") / "cache.zarr"
    settings = Recipe(views=4).precompute_settings() | {"shards": LABELLED, "cache": str(path), "readers": 0}
    precompute(PrecomputeConfig.parse(settings, where="test"))
    return path


def _blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def _run(code: str, cache: Path) -> dict[str, Any]:
    """Execute a documented block on the demo's data, one epoch, on the CPU."""
    for shown, here in (
        ("train-{000..146}.tar", LABELLED),
        ("cache.zarr", str(cache)),
        ("n01440764_10026", "labelled00001"),
        ("range(300)", "range(1)"),
        ('"cuda"', '"cpu"'),
        ("batch_size=256, num_workers=8", "batch_size=64, num_workers=0"),
    ):
        code = code.replace(shown, here)
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10))
    names: dict[str, Any] = {
        "student": student,
        "normalise": lambda images_B3HW: images_B3HW.float() / 255.0,
        "optimiser": torch.optim.SGD(student.parameters(), lr=0.02),
    }
    exec(compile(code, "example", "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize(
    ("page", "number"), [("README.md", 0), ("docs/library.md", 0), ("docs/library.md", 1)]
)
def test_documented_code_runs(page: str, number: int, cache: Path) -> None:
    _run(_blocks(page)[number], cache)


def test_the_documented_loop_learns_from_the_teacher(cache: Path) -> None:
    loop = _blocks("README.md")[0].replace("range(300)", "range(8)")
    assert _run(loop, cache)["loss"].item() < _run(_blocks("README.md")[0], cache)["loss"].item()
