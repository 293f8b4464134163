"""``kdcache train`` as people run it: with flags, a file, two processes, no teacher in reach."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from click.testing import CliRunner, Result

from kdcache.config.views import ViewPolicy
from kdcache.data.evaluation import eval_loader
from kdcache.models.preprocess import InputSpec, Preprocess
from kdcache.train import train
from kdcache_cli.main import kdcache
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard, write_shards
from tests.support.training import POLICY, TINY_VIT, losses_of, small_cache, small_config, train_lines

FLAGS = [
    "--student",
    "vit_tiny_patch16_224",
    "--batch-size",
    "8",
    "--steps",
    "4",
    "--device",
    "cpu",
    "-j",
    "0",
]
TINY_FLAGS = [word for name, value in TINY_VIT.items() for word in ("--student-kwargs", f"{name}={value}")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Return (shards, cache)."""
    return small_cache(tmp_path_factory.mktemp("train"))


def _run(*words: object) -> Result:
    return CliRunner().invoke(kdcache, ["train", *map(str, words)])


def _trained(made: tuple[list[str], Path], out: Path, *words: object) -> dict[str, Any]:
    shards, cache = made
    result = _run(*shards, "--cache", cache, "--out", out, *FLAGS, *TINY_FLAGS, *words, "-q", "--json")
    assert result.exit_code == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_flags_alone_make_a_run(made: tuple[list[str], Path], tmp_path: Path) -> None:
    facts = _trained(made, tmp_path / "run", "--val", made[0][0], "--log-interval", 1)
    assert (facts["steps"], facts["samples"], facts["teacher_calls"]) == (4, 32, 0)
    assert facts["views_checked"] >= 8
    assert facts["evaluation"]["samples"] == 24
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        *("args.yaml", "log.jsonl", "summary.csv", "report.json", "model.safetensors"),
        *("checkpoint.json", "checkpoint-00000004.pt"),
    }


def test_a_file_makes_the_same_run_and_flags_override_it(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    _trained(made, tmp_path / "flags", "--log-interval", 1)
    config = tmp_path / "flags" / "args.yaml"
    assert _run("--config", config, "--out", tmp_path / "file").exit_code == 0
    assert train_lines(tmp_path / "file") == train_lines(tmp_path / "flags")
    assert _run("--config", config, "--out", tmp_path / "longer", "--epochs", 1).exit_code == 0
    assert len(losses_of(tmp_path / "longer")) == 6


def test_timm_loads_the_weights_and_they_evaluate_to_the_same(
    made: tuple[list[str], Path], tmp_path: Path
) -> None:
    shards, cache = made
    facts = _trained(made, tmp_path / "run", "--val", shards[0], "--val-cache", cache)
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=10, checkpoint_path=facts["weights"], **TINY_VIT
    ).eval()
    preprocess = Preprocess(InputSpec(24, 24, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    correct = 0
    with torch.inference_mode():
        for batch in eval_loader(shards[0], cache=cache):
            correct += int((model(preprocess(batch.images_B3HW)).argmax(dim=1) == batch.labels_B).sum())
    assert correct / 24 == pytest.approx(facts["evaluation"]["top1"], abs=1e-6)


def test_a_dry_run_tells_the_length_and_writes_nothing(made: tuple[list[str], Path], tmp_path: Path) -> None:
    shards, cache = made
    result = _run(*shards, "--cache", cache, "--out", tmp_path / "run", *FLAGS, *TINY_FLAGS, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "steps            4 (6 an epoch)" in result.stdout
    assert "epochs per view  0.17" in result.stdout
    assert not (tmp_path / "run").exists()


def test_labels_only_is_the_baseline_on_the_same_views(made: tuple[list[str], Path], tmp_path: Path) -> None:
    weights = ("--distill-loss-weight", 0, "--task-loss-weight", 1)
    facts = _trained(made, tmp_path / "run", *weights, "--log-interval", 1)
    lines = train_lines(tmp_path / "run")
    assert all(line["distill_loss"] is None and line["agreement"] is None for line in lines)
    assert lines[0]["task_loss"] == pytest.approx(2.3, abs=0.2)
    assert facts["rows_without_targets"] == 0


@pytest.mark.parametrize("student", ["deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224"])
def test_other_transformers_train_too(made: tuple[list[str], Path], tmp_path: Path, student: str) -> None:
    small = {
        "deit_tiny_distilled_patch16_224": TINY_VIT,
        "swin_tiny_patch4_window7_224": {
            "img_size": 24,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 3,
        },
    }[student]
    out = str(tmp_path / "run")
    changes: dict[str, Any] = {
        "student": student,
        "student_kwargs": small,
        "out": out,
        "steps": 3,
        "drop_path": 0.1,
    }
    report = train(small_config(tmp_path, *made, **changes))
    settings = yaml.safe_load((tmp_path / "run" / "args.yaml").read_text())
    has_token = student.startswith("deit")
    assert report.steps == 3
    assert (settings["distill_loss"], settings["task_loss_weight"]) == (
        ("hard", 0.5) if has_token else ("kl", 0.0)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"amp": True},
        {"grad_accum_steps": 4},
        {"channels_last": True, "clip_grad": 0.5},
        {"opt": "lamb", "layer_decay": 0.8, "sched": "step"},
        {"distill_loss": "hard", "task_loss_weight": 0.5, "smoothing": 0.1},
        {"tail": "uniform", "temperature": 1.5},
    ],
)
def test_common_options_train(made: tuple[list[str], Path], tmp_path: Path, changes: dict[str, Any]) -> None:
    assert train(small_config(tmp_path, *made, **changes)).steps == 10
    assert len(losses_of(tmp_path / "run")) == 10


def test_mixed_views_train_with_mixed_labels(tmp_path: Path) -> None:
    shards, cache = small_cache(
        tmp_path, policy=ViewPolicy.named("rrc", size=24, mixing={}), rows_per_block=64
    )
    report = train(small_config(tmp_path, shards, cache, task_loss_weight=0.5, distill_loss_weight=0.5))
    assert (report.steps, report.samples) == (10, 80)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--student", "vit_tinny_patch16_224"], 2, "has no such model; did you mean vit_tiny"),
        (["--task-loss-weight", 0, "--distill-loss-weight", 0], 2, "both 0: there is nothing to learn from"),
        (["--temperature", 4], 2, "below 50%"),
        (["--epochs", 2], 2, "epochs=2 and steps=4 are both given"),
        (["--student-kwargs", "img_size"], 2, "is not key=value, as in img_size=28"),
        (["--student-kwargs", "depht=2"], 2, "unexpected keyword argument 'depht'"),
        (["--cache", "nowhere.zarr"], 3, "nowhere.zarr"),
        (["--val", "nothing-{0..3}.tar"], 2, "nothing-0.tar"),
        (["--val-cache", "nowhere.zarr"], 2, "val_cache is given without val"),
        (["--batch-size", 500], 2, "48 samples do not fill one micro-batch of 500"),
        (["--device", "tpu"], 2, "unknown device 'tpu'"),
    ],
)
def test_bad_input_is_one_paragraph_and_an_exit_code(
    made: tuple[list[str], Path], tmp_path: Path, words: list[object], code: int, message: str
) -> None:
    shards, cache = made
    result = _run(*shards, "--cache", cache, "--out", tmp_path / "run", *FLAGS, *TINY_FLAGS, *words)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "run").glob("*"))


def test_missing_settings_are_named(tmp_path: Path) -> None:
    result = _run()
    assert result.exit_code == 2
    for name in ("shards", "cache", "student", "out"):
        assert f"{name}: Field required" in result.stderr


def test_a_changed_picture_stops_the_run_with_exit_code_4(tmp_path: Path) -> None:
    shards, cache = small_cache(tmp_path)
    write_shard(Path(shards[0]), range(24), labels=dict.fromkeys(range(24), 3))
    result = _run(*shards, "--cache", cache, "--out", tmp_path / "run", *FLAGS, *TINY_FLAGS)
    assert result.exit_code == 4
    assert "label" in result.stderr


def test_training_needs_no_teacher(made: tuple[list[str], Path], tmp_path: Path) -> None:
    """The demo's guard refuses to import ``kdcache.teachers`` and ``kdcache.precompute``, in workers as well."""
    shards, cache = made
    words = [
        *shards,
        "--cache",
        str(cache),
        "--out",
        str(tmp_path / "run"),
        *FLAGS[:-1],
        "2",
        *TINY_FLAGS,
        "--json",
    ]
    command = [sys.executable, "-m", "kdcache.demo.without_teacher", "train", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["teacher_calls"], facts["teacher_modules"]) == (0, [])


def test_two_processes_share_a_run(tmp_path: Path) -> None:
    """Each takes every second micro-batch; an accumulated step of one process is the same step.

    The shards are uneven, and fewer than the loader workers of both processes together.
    """
    shards = write_shards(tmp_path / "data", [30, 7, 3])
    made = shards, make_real_cache(tmp_path / "cache.zarr", shards, policy=POLICY)
    settings: dict[str, Any] = {"batch_size": 4, "steps": 12, "seed": 5, "val": shards, "lr": 3e-3}
    one = small_config(tmp_path, *made, out=str(tmp_path / "one"), grad_accum_steps=2, **settings)
    two = small_config(tmp_path, *made, out=str(tmp_path / "two"), workers=2, **settings)
    first = train(one)
    (tmp_path / "two.yaml").write_text(two.to_yaml())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--local-addr", "127.0.0.1"]  # a machine without a name server hangs on its own name
    command += ["-m", "kdcache_cli.main", "train", "--config", str(tmp_path / "two.yaml"), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    second = json.loads(result.stdout)
    assert losses_of(two.out) == pytest.approx(losses_of(one.out), abs=1e-5)
    assert len(losses_of(two.out)) == second["steps"] == 12
    assert (second["samples"], second["evaluation"]["samples"]) == (first.samples, 40)
    assert first.evaluation is not None
    assert second["evaluation"]["top1"] == first.evaluation.top1
    assert second["evaluation"]["loss"] == pytest.approx(first.evaluation.loss, abs=1e-4)
    assert second["evaluation"]["ece"] == pytest.approx(first.evaluation.ece, abs=1e-4)
