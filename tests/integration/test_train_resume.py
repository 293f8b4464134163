"""A run that is killed and resumed is the run that was never stopped; workers change nothing but speed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdcache.data.loader import distill_loader
from kdcache.errors import CheckpointError, ConfigError
from kdcache.train import train
from tests.support.processes import Process, launch, run
from tests.support.training import losses_of, small_cache, small_config, train_lines

STEPS = 120


class Made:
    """Shards, their cache, and the run that was never stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards, self.cache = small_cache(folder)
        self.calm = folder / "calm"
        train(small_config(folder, self.shards, self.cache, out=str(self.calm), **SETTINGS))

    def flags(self, out: Path) -> list[str]:
        """Return the command that trains into ``out``."""
        config = small_config(self.folder, self.shards, self.cache, out=str(out), **SETTINGS)
        (self.folder / "run.yaml").write_text(config.to_yaml())
        return ["kdcache", "train", "--config", str(self.folder / "run.yaml")]


SETTINGS: dict[str, Any] = {
    "steps": STEPS,
    "drop_path": 0.2,
    "drop": 0.1,
    "grad_accum_steps": 2,
    "batch_size": 4,
    "checkpoint_interval": 7,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make everything once."""
    return Made(tmp_path_factory.mktemp("resume"))


def _same_weights(first: Path, second: Path) -> bool:
    weights, others = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    return weights.keys() == others.keys() and all(
        torch.equal(weights[name], others[name]) for name in weights
    )


def _logged_steps(out: Path) -> int:
    try:
        return (out / "log.jsonl").read_text().count('"kind": "train"')
    except FileNotFoundError:
        return 0


def _running_at(command: list[str], out: Path, step: int) -> Process:
    process = launch(command)
    while _logged_steps(out) < step and process.poll() is None:
        time.sleep(0.005)
    return process


def _stop_at(command: list[str], out: Path, step: int, number: signal.Signals) -> tuple[int, str]:
    """Return (exit status, stderr)."""
    process = _running_at(command, out, step)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    return process.wait(), stderr


def test_kill_and_resume_give_the_losses_and_weights_of_an_undisturbed_run(
    made: Made, tmp_path: Path
) -> None:
    out, command = tmp_path / "run", made.flags(tmp_path / "run")
    assert _stop_at(command, out, 20, signal.SIGKILL)[0] == -signal.SIGKILL
    assert _stop_at([*command, "--resume"], out, 60, signal.SIGKILL)[0] == -signal.SIGKILL
    assert _logged_steps(out) < STEPS
    run([*command, "--resume"])
    assert train_lines(out) == train_lines(made.calm)
    assert _same_weights(out, made.calm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_exits_with_5_and_says_how_to_go_on(
    made: Made, tmp_path: Path, number: signal.Signals
) -> None:
    out, command = tmp_path / "run", made.flags(tmp_path / "run")
    code, stderr = _stop_at(command, out, 10, number)
    assert code == 5, stderr
    saved = json.loads((out / "checkpoint.json").read_text())["step"]
    assert f"stopped by {number.name}: the state after step {saved} of 120 is saved in {out}" in stderr
    assert "add --resume to the same command to go on" in stderr
    run([*command, "--resume"])
    assert train_lines(out) == train_lines(made.calm)
    assert _same_weights(out, made.calm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_saves_as_well(made: Made, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the loader's workers, too, and so does what a scheduler or a service manager sends."""
    out, command = tmp_path / "run", [*made.flags(tmp_path / "run"), "--workers", "2"]
    process = _running_at(command, out, 10)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stderr
    assert f"stopped by {number.name}: the state after step " in stderr
    run([*command, "--resume"])
    assert train_lines(out) == train_lines(made.calm)


def test_a_run_that_lost_a_loader_worker_says_so_and_can_go_on(made: Made, tmp_path: Path) -> None:
    out, command = tmp_path / "run", [*made.flags(tmp_path / "run"), "--workers", "2"]
    process = _running_at(command, out, 10)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stderr
    assert "a loader process died: DataLoader worker" in stderr
    assert "use fewer --workers. What was saved last in " in stderr
    assert "Traceback" not in stderr
    run([*command, "--resume"])
    assert train_lines(out) == train_lines(made.calm)


def _order(shards: list[str], cache: Path, workers: int) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    loader = distill_loader(shards, cache=cache, batch_size=8, run_seed=42, num_workers=workers)
    for epoch in range(3):
        for batch in loader.epoch(epoch):
            yield batch.keys, batch.aug_seeds_B.tolist()


def test_the_order_of_samples_and_views_does_not_depend_on_workers(made: Made) -> None:
    assert list(_order(made.shards, made.cache, 0)) == list(_order(made.shards, made.cache, 3))


def test_the_losses_do_not_depend_on_workers(made: Made, tmp_path: Path) -> None:
    settings = SETTINGS | {"steps": 20, "workers": 3, "sched": "constant", "warmup_steps": 0}
    for workers in (0, 3):
        out = str(tmp_path / str(workers))
        train(
            small_config(tmp_path, made.shards, made.cache, **(settings | {"workers": workers, "out": out}))
        )
    assert losses_of(tmp_path / "0") == losses_of(tmp_path / "3")


def test_a_run_killed_before_its_first_checkpoint_starts_again(made: Made, tmp_path: Path) -> None:
    config = small_config(tmp_path, made.shards, made.cache)
    out = Path(config.out)
    out.mkdir()
    (out / "log.jsonl").write_text('{"kind": "train", "step": 1, "loss"')
    train(config, resume=True)
    assert len(losses_of(out)) == 10


def test_a_finished_run_that_is_resumed_reports_the_same(made: Made, tmp_path: Path) -> None:
    config = small_config(tmp_path, made.shards, made.cache, val=made.shards)
    first, again = train(config), train(config, resume=True)
    assert (again.steps, again.samples, again.evaluation) == (first.steps, first.samples, first.evaluation)
    assert again.resumed_from_step == 10


def test_a_folder_in_use_is_refused(made: Made, tmp_path: Path) -> None:
    config = small_config(tmp_path, made.shards, made.cache)
    train(config)
    with pytest.raises(ConfigError, match=r"is not empty .*add --resume"):
        train(config)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.5}, "lr: checkpoint 0.001, now 0.5"),
        ({"steps": 20}, "steps: checkpoint 10, now 20"),
        (
            {"student_kwargs": {"img_size": 24, "patch_size": 12, "embed_dim": 32, "depth": 1}},
            "student_kwargs",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    made: Made, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    train(small_config(tmp_path, made.shards, made.cache))
    with pytest.raises(CheckpointError, match=rf"taken under other settings \({named}"):
        train(small_config(tmp_path, made.shards, made.cache, **change), resume=True)


def test_a_checkpoint_of_other_data_is_refused(made: Made, tmp_path: Path) -> None:
    train(small_config(tmp_path, made.shards, made.cache))
    with pytest.raises(CheckpointError, match="shard_names"):
        train(small_config(tmp_path, made.shards[:1], made.cache), resume=True)


def test_a_damaged_checkpoint_is_refused_with_exit_code_3(made: Made, tmp_path: Path) -> None:
    config = small_config(tmp_path, made.shards, made.cache)
    train(config)
    path = next(Path(config.out).glob("checkpoint-*.pt"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    process = launch(["kdcache", "train", "--config", str(tmp_path / "run.yaml"), "--resume"])
    _, stderr = process.communicate()
    assert process.returncode == 3
    assert "error KD400" in stderr
    assert "is damaged: its sha256 is" in stderr
