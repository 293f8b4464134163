"""The commands that the recipe pages show run as they stand, only shorter and on fewer pictures."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file

from kdcache.data.loader import distill_loader
from kdcache.demo.recipe import LABELLED, MEAN, STD
from kdcache.store.reader import open_cache
from tests.support.processes import run
from tests.support.source import ROOT

RECIPES = ROOT / "docs" / "recipes"
STEPS = 40
SHORTER = {
    "precompute": ["--views", "2", "--readers", "0", "--quiet"],
    "train": [
        "--steps",
        str(STEPS),
        "--warmup-steps",
        "4",
        "--workers",
        "0",
        "--threads",
        "1",
        "--log-interval",
        "20",
        "--quiet",
    ],
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the paths of the pages lead somewhere; caches that pages share are made once."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("docs", "kdcache"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def _run(page: str, folder: Path) -> list[dict[str, Any]]:
    """Run the commands of a page in order, and return what those with ``--json`` report."""
    (block,) = re.findall(r"```bash\n(.*?)```", (RECIPES / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    name, _, value = lines[0].partition("=")
    outputs = []
    for line in lines[1:]:
        text = line.replace(f"${name}", value).replace("{000..003}", "000")
        words = shlex.split(text)
        stdout, _ = run([*words, *SHORTER[words[1]]], folder=folder, environment={"OMP_NUM_THREADS": "1"})
        outputs.append(stdout)
    return [json.loads(stdout) for stdout in outputs if stdout.startswith("{")]


def _learnt(report: dict[str, Any]) -> bool:
    assert report["samples"] == STEPS * 64
    return bool(report["evaluation"]["top1"] > 0.2)


def test_a_deit_student_learns_hard_labels_on_its_token(folder: Path) -> None:
    (report,) = _run("deit-hard-token.md", folder)
    assert _learnt(report)
    out = folder / "recipes" / "deit"
    args = yaml.safe_load((out / "args.yaml").read_text())
    assert (args["distill_loss"], args["task_loss_weight"], args["distill_loss_weight"]) == ("hard", 0.1, 0.9)
    assert "head_dist.weight" in load_file(out / "model.safetensors")


def test_a_students_run_is_the_next_teacher_as_it_stands(folder: Path) -> None:
    first, second = _run("self-distillation.md", folder)
    assert _learnt(first)
    assert _learnt(second)
    assert second["rows_without_targets"] == 0
    cache = open_cache(folder / "recipes" / "first.zarr")
    assert cache.teachers == ("first",)
    student = timm.create_model(
        "vit_tiny_patch16_224",
        checkpoint_path=str(folder / "recipes" / "first" / "model.safetensors"),
        num_classes=10,
        **yaml.safe_load((RECIPES / "student.yaml").read_text())["student_kwargs"],
    ).eval()
    (batch,) = distill_loader(LABELLED, cache=cache, batch_size=200).epoch(0)
    with torch.inference_mode():
        logits_BC = student((batch.images_B3HW / 255.0 - torch.tensor(MEAN[0])) / torch.tensor(STD[0]))
    cached_BC = batch.teacher.kept_log_probs(1.0)
    assert (cached_BC - logits_BC.log_softmax(dim=1)).abs().max() < 0.05  # dense8 keeps one byte a class


def test_pictures_without_labels_teach_beside_others(folder: Path) -> None:
    labels, labelled, everything = _run("unlabelled-images.md", folder)
    assert all(_learnt(report) for report in (labels, labelled, everything))
    assert labels["epochs"] == labelled["epochs"] > 3 * everything["epochs"]


def test_a_student_learns_relations(folder: Path) -> None:
    (report,) = _run("relations.md", folder)
    assert _learnt(report)
    assert yaml.safe_load((folder / "recipes" / "dist" / "args.yaml").read_text())["distill_loss"] == "dist"


def test_a_student_learns_features(folder: Path) -> None:
    (report,) = _run("features.md", folder)
    assert _learnt(report)
    lines = [
        json.loads(line) for line in (folder / "recipes" / "features" / "log.jsonl").read_text().splitlines()
    ]
    assert [line["feature_loss"] for line in lines if line["kind"] == "train"][-1] < 1.0
    assert open_cache(folder / "recipes" / "features.zarr").identity.teachers.keys() == {
        "cnn",
        "cnn.features",
    }
