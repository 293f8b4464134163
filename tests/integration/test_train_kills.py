"""A training run that is killed again and again, alone or with a second process, is the run that was never stopped."""

import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.processes import Process, launch_ranks
from tests.support.training import small_cache, small_config, train_lines

SETTINGS: dict[str, Any] = {
    "batch_size": 4,
    "grad_accum_steps": 2,
    "drop": 0.1,
    "drop_path": 0.2,
    "clip_grad": 1.0,
    "checkpoint_interval": 7,
    "workers": 1,
}
SOAK = (pytest.mark.soak, pytest.mark.timeout(1800))


class Run:
    """One run folder, and the processes that train into it."""

    def __init__(self, folder: Path, name: str, made: tuple[list[str], Path], steps: int) -> None:
        self.out = folder / name
        self._file, self._log = folder / f"{name}.yaml", folder / f"{name}.txt"
        config = small_config(folder, *made, out=str(self.out), steps=steps, **SETTINGS)
        self._file.write_text(config.to_yaml())

    def start(self, world: int) -> list[Process]:
        """Start, or go on, with so many processes."""
        command = ["kdcache", "train", "--config", str(self._file), "--resume"]
        return launch_ranks(command, world=world, log=self._log)

    def finish(self, world: int) -> None:
        """Go on to the end."""
        codes = [child.wait() for child in self.start(world)]
        assert codes == [0] * world, self._log.read_text()

    def kill_at(self, step: int, world: int) -> None:
        """Go on, and kill every process once this step is in the log."""
        children = self.start(world)
        deadline = time.monotonic() + 120
        while len(train_lines(self.out) if (self.out / "log.jsonl").exists() else []) < step:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.002)
        for child in children:
            child.kill_group()
        assert {child.wait() for child in children} <= {-9, 0}

    def trace(self) -> list[dict[str, Any]]:
        """Return what was logged of each step."""
        return train_lines(self.out)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the final weights."""
        return load_file(self.out / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        (1, 2, 80),
        (2, 1, 40),
        pytest.param((1, 20, 600), marks=SOAK),
        pytest.param((2, 20, 600), marks=SOAK),
    ],
)
def test_kills_at_random_steps_leave_no_trace(
    case: tuple[int, int, int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world, kills, steps = case
    made = small_cache(tmp_path)
    calm, killed = (Run(tmp_path, name, made, steps) for name in ("calm", "killed"))
    calm.finish(world)
    moments = sorted(Random(7 * world).sample(range(2, steps - 5), kills))
    for moment in moments:
        killed.kill_at(moment, world)
    killed.finish(world)
    assert [line["step"] for line in killed.trace()] == list(range(1, steps + 1))
    assert killed.trace() == calm.trace()
    expected, found = calm.weights(), killed.weights()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with capsys.disabled():
        sys.stdout.write(
            f"\ntraining, {world} rank(s): {kills} kills in {steps} steps, the same losses and weights\n"
        )
