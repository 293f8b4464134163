"""What a run may be given besides its losses: it goes on exactly, and leaves what it promises."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import timm
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from timm.models import checkpoint_seq

from kdcache.config.train import TrainConfig
from kdcache.students import build_student
from kdcache.train import train
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.journal import Journal
from tests.support.processes import launch_ranks
from tests.support.stopping import Death, dying_after, train_with_deaths
from tests.support.training import TINY_VIT, losses_of, small_cache, small_config, train_lines

Made = tuple[list[str], Path]

EVERYTHING: dict[str, Any] = (
    {"steps": 24, "batch_size": 4, "grad_accum_steps": 2, "drop": 0.1, "drop_path": 0.1, "clip_grad": 0.5}
    | {"model_ema": True, "model_ema_decay": 0.7, "model_ema_warmup": True, "tensorboard": True}
    | {"sched": "plateau", "patience_epochs": 0, "decay_rate": 0.5, "warmup_steps": 2, "lr": 0.02}
    | {"checkpoint_hist": 2, "checkpoint_interval": 4, "eval_metric": "loss"}
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return (shards, cache)."""
    return small_cache(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def calm(made: Made, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Return the settings of a run of everything that was never stopped."""
    config = small_config(tmp_path_factory.mktemp("calm"), *made, val=made[0], **EVERYTHING)
    train(config)
    return config


def _same_weights(first: Path | str, second: Path | str, name: str) -> bool:
    weights, others = load_file(Path(first) / name), load_file(Path(second) / name)
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


def _best(out: Path | str) -> list[tuple[int, float]]:
    index = json.loads((Path(out) / "checkpoint.json").read_text())
    return [(entry["step"], entry["value"]) for entry in index["best"]]


def _checkpoints(out: Path | str) -> Checkpoints:
    index = json.loads((Path(out) / "checkpoint.json").read_text())
    return Checkpoints(Path(out), index["binding"])


def test_a_run_of_everything_that_dies_and_resumes_is_the_run_that_never_did(
    made: Made, calm: TrainConfig, tmp_path: Path
) -> None:
    config = small_config(tmp_path, *made, val=made[0], **EVERYTHING)
    train_with_deaths(config, 7, 11)  # after steps 7 and 17, with checkpoints after 6 and 16
    assert train_lines(config.out) == train_lines(calm.out)
    assert Journal(Path(config.out)).read("eval") == Journal(Path(calm.out)).read("eval")
    assert (Path(config.out) / "summary.csv").read_text() == (Path(calm.out) / "summary.csv").read_text()
    for name in ("model.safetensors", "model_ema.safetensors", "model_best.safetensors"):
        assert _same_weights(config.out, calm.out, name), name
    assert _best(config.out) == _best(calm.out)


def test_a_plateau_lowers_the_rate_where_evaluations_get_no_better(calm: TrainConfig) -> None:
    figures = [line["ema_loss"] for line in Journal(Path(calm.out)).read("eval")]
    rate, best, expected = 0.02, float("inf"), []
    for figure in figures[:-1]:
        expected.append(rate)
        rate, best = (rate, figure) if figure < best * (1 - 1e-4) else (rate / 2, best)
    expected.append(rate)
    rates = {line["epoch"]: line["lr"] for line in train_lines(calm.out)}
    assert list(rates.values()) == pytest.approx(expected)
    assert rate < 0.02


def test_the_mean_of_the_weights_is_evaluated_beside_them_and_saved_for_timm(
    made: Made, calm: TrainConfig
) -> None:
    out = Path(calm.out)
    header, *lines = (out / "summary.csv").read_text().splitlines()
    assert {"loss", "ema_loss", "ema_top1"} <= set(header.split(","))
    assert len(lines) == 4
    last = Journal(out).read("eval")[-1]
    assert last["ema_loss"] != last["loss"]
    report = json.loads((out / "report.json").read_text())
    assert report["evaluation_ema"]["loss"] == last["ema_loss"]
    checkpoint_path = str(out / "model_ema.safetensors")
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=10, checkpoint_path=checkpoint_path, **TINY_VIT
    )
    state = _checkpoints(out).load()["ema"]
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)


def _scalars(out: Path | str) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(Path(out) / "tensorboard")).Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_holds_the_log_once_also_after_deaths(made: Made, tmp_path: Path) -> None:
    config = small_config(tmp_path, *made, val=made[0], tensorboard=True, checkpoint_interval=3)
    train_with_deaths(config, 2, 8, 2)  # the second dies after its first evaluation
    scalars = _scalars(config.out)
    lines = {kind: Journal(Path(config.out)).read(kind) for kind in ("train", "eval")}
    for name in ("train/loss", "train/lr", "eval/top1", "eval/loss"):
        kind, _, fact = name.partition("/")
        assert [step for step, _ in scalars[name]] == [line["step"] for line in lines[kind]], name
        values = [value for _, value in scalars[name]]
        assert values == pytest.approx([line[fact] for line in lines[kind]], rel=1e-6), name


def test_tensorboard_that_is_asked_for_late_gets_the_whole_log(made: Made, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"checkpoint_interval": 4}
    with dying_after(6), pytest.raises(Death):
        train(small_config(tmp_path, *made, **changes))
    config = small_config(tmp_path, *made, tensorboard=True, **changes)
    train(config, resume=True)
    assert [step for step, _ in _scalars(config.out)["train/loss"]] == list(range(1, 11))


def test_the_best_states_are_kept_whole(calm: TrainConfig) -> None:
    best = _best(calm.out)
    evaluations = sorted((line["ema_loss"], line["step"]) for line in Journal(Path(calm.out)).read("eval"))
    assert [step for step, _ in best] == [step for _, step in evaluations[:2]]
    assert [loss for _, loss in best] == pytest.approx([loss for loss, _ in evaluations[:2]], abs=1e-6)
    files = {path.name for path in Path(calm.out).glob("checkpoint-*.pt")}
    assert files == {f"checkpoint-{step:08d}.pt" for step in {24, *(step for step, _ in best)}}
    state = _checkpoints(calm.out).load(step=best[0][0])
    weights = load_file(Path(calm.out) / "model_best.safetensors")
    assert all(torch.equal(weights[name], state["ema"][name]) for name in weights)


def test_a_run_can_go_on_from_its_best_state(calm: TrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(calm.out, out)
    index = json.loads((out / "checkpoint.json").read_text())
    best = {name: index["best"][0][name] for name in ("file", "sha256", "step")}
    (out / "checkpoint.json").write_text(json.dumps({**index, **best, "best": []}))
    report = train(calm.model_copy(update={"out": str(out)}), resume=True)
    assert report.resumed_from_step == best["step"] < 24
    assert train_lines(out) == train_lines(calm.out)
    assert _same_weights(out, calm.out, "model_ema.safetensors")


@pytest.mark.parametrize("opt", ["adamw", "lamb", "lion", "muon", "sgd"])
def test_every_optimiser_trains_and_resumes_exactly(made: Made, tmp_path: Path, opt: str) -> None:
    changes: dict[str, Any] = {"opt": opt, "steps": 4, "checkpoint_interval": 2, "layer_decay": 0.8}
    calm = small_config(tmp_path, *made, out=str(tmp_path / "calm"), **changes)
    config = small_config(tmp_path, *made, **changes)
    train(calm)
    train_with_deaths(config, 3)
    losses = losses_of(config.out)
    assert len(set(losses)) == 4
    assert losses == losses_of(calm.out)
    assert _same_weights(config.out, calm.out, "model.safetensors")


@pytest.mark.parametrize("mode", ["norm", "value", "agc"])
def test_every_clip_mode_holds_the_weights_back(made: Made, tmp_path: Path, mode: str) -> None:
    changes: dict[str, Any] = {"opt": "sgd", "steps": 2, "lr": 1.0, "clip_grad": 1e-9, "warmup_steps": 0}
    config = small_config(tmp_path, *made, clip_mode=mode, weight_decay=0.0, **changes)
    train(config)
    start = build_student("vit_tiny_patch16_224", num_classes=10, seed=42, kwargs=TINY_VIT).model.state_dict()
    moved = load_file(Path(config.out) / "model.safetensors")
    free = {"head.weight", "head.bias"} if mode == "agc" else set()  # as in timm
    assert all(torch.allclose(moved[name], start[name], atol=1e-7) for name in moved.keys() - free)
    assert all(not torch.allclose(moved[name], start[name], atol=1e-7) for name in free)


def test_gradient_checkpointing_changes_no_loss(made: Made, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"drop": 0.1, "drop_path": 0.2, "steps": 4}
    plain = small_config(tmp_path, *made, out=str(tmp_path / "plain"), **changes)
    config = small_config(tmp_path, *made, grad_checkpointing=True, **changes)
    train(plain)
    with mock.patch.object(timm.models.vision_transformer, "checkpoint_seq", wraps=checkpoint_seq) as calls:
        train(config)
    assert calls.call_count == 4
    assert losses_of(config.out) == losses_of(plain.out)
    assert _same_weights(config.out, plain.out, "model.safetensors")


def test_float16_trains_skips_what_it_cannot_hold_and_resumes_exactly(made: Made, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "amp": True,
        "amp_dtype": "float16",
        "clip_grad": 1.0,
        "checkpoint_interval": 3,
    }
    calm = small_config(tmp_path, *made, out=str(tmp_path / "calm"), **changes)
    config = small_config(tmp_path, *made, **changes)
    with mock.patch.object(
        torch.amp.GradScaler.__init__, "__defaults__", ("cuda", 2.0**40, 2.0, 0.5, 4, True)
    ):
        report = train(calm)  # a scale that is too large: the first steps must halve it
        train_with_deaths(config, 4)
    lines = train_lines(config.out)
    assert lines == train_lines(calm.out)
    assert _same_weights(config.out, calm.out, "model.safetensors")
    assert lines[-1]["steps_skipped"] == report.steps_skipped > 0
    assert lines[-1]["loss_scale"] < 2.0**40
    assert "steps for float16's range" in report.to_text()


def test_a_compiled_student_resumes_exactly_and_saves_plain_weights(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that takes seconds, where the one of ``--compile`` takes minutes."""
    monkeypatch.setattr("kdcache.train.compiled.torch.compile", partial(torch.compile, backend="aot_eager"))
    changes: dict[str, Any] = {"steps": 4, "checkpoint_interval": 2, "model_ema": True, "drop": 0.1}
    changes |= {"student_kwargs": TINY_VIT | {"depth": 1}}
    plain = small_config(tmp_path, *made, out=str(tmp_path / "plain"), **changes)
    calm = small_config(tmp_path, *made, out=str(tmp_path / "calm"), compile=True, **changes)
    config = small_config(tmp_path, *made, compile=True, **changes)
    train(plain)
    train(calm)
    train_with_deaths(config, 3)
    assert losses_of(calm.out) == pytest.approx(losses_of(plain.out), abs=1e-4)
    assert losses_of(config.out) == losses_of(calm.out)
    assert _same_weights(config.out, calm.out, "model.safetensors")
    for name in ("model.safetensors", "model_ema.safetensors"):
        assert load_file(Path(calm.out) / name).keys() == load_file(Path(plain.out) / name).keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on a CPU")
def test_inductor_trains_to_the_same_losses(made: Made, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"steps": 3, "student_kwargs": TINY_VIT | {"depth": 1}}
    plain = small_config(tmp_path, *made, out=str(tmp_path / "plain"), **changes)
    config = small_config(tmp_path, *made, compile=True, **changes)
    train(plain)
    train(config)
    assert losses_of(config.out) == pytest.approx(losses_of(plain.out), abs=1e-4)


def test_two_processes_agree_on_mean_plateau_and_best_states(made: Made, tmp_path: Path) -> None:
    settings: dict[str, Any] = {name: EVERYTHING[name] for name in EVERYTHING.keys() - _NOT_FOR_TWO}
    settings |= {"steps": 12, "batch_size": 4, "val": made[0]}
    one = small_config(tmp_path, *made, out=str(tmp_path / "one"), grad_accum_steps=2, **settings)
    two = small_config(tmp_path, *made, out=str(tmp_path / "two"), **settings)
    train(one)
    (tmp_path / "two.yaml").write_text(two.to_yaml())
    processes = launch_ranks(["kdcache", "train", "--config", str(tmp_path / "two.yaml")], world=2)
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    for name in ("loss", "ema_loss"):
        figures = [[line[name] for line in Journal(Path(run.out)).read("eval")] for run in (one, two)]
        assert figures[1] == pytest.approx(figures[0], abs=1e-4)
    assert [step for step, _ in _best(two.out)] == [step for step, _ in _best(one.out)]
    assert [line["lr"] for line in train_lines(two.out)] == [line["lr"] for line in train_lines(one.out)]


_NOT_FOR_TWO = {"drop", "drop_path", "grad_accum_steps", "tensorboard"}
"""Each process drops units of its own; the rest of a step is the same in two processes as in one."""
