"""A training run that is killed again and again, alone or with a second process, is the run that was never stopped."""

import contextlib
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.training import small_cache, small_config, train_lines
from tests.support.zygote import Child, Zygote

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


@pytest.fixture(scope="module")
def zygotes() -> Iterator[list[Zygote]]:
    """Return two processes that fork commands: one a rank."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Zygote()) for _ in range(2)]


class Run:
    """One run folder, and the processes that train into it."""

    def __init__(self, folder: Path, name: str, made: tuple[list[str], Path], steps: int) -> None:
        self.out = folder / name
        self._file, self._log = folder / f"{name}.yaml", folder / f"{name}.txt"
        config = small_config(folder, *made, out=str(self.out), steps=steps, **SETTINGS)
        self._file.write_text(config.to_yaml())

    def start(self, zygotes: Sequence[Zygote]) -> list[Child]:
        """Start, or go on, with one process for each zygote."""
        command = ["train", "--config", str(self._file), "--resume"]
        ranks = {
            "WORLD_SIZE": str(len(zygotes)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
        }
        place = (
            (lambda rank: ranks | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) if len(zygotes) > 1 else None
        )
        return [
            zygote.start(command, self._log, **(place(rank) if place else {}))
            for rank, zygote in enumerate(zygotes)
        ]

    def finish(self, zygotes: Sequence[Zygote]) -> None:
        """Go on to the end."""
        codes = [child.wait() for child in self.start(zygotes)]
        assert codes == [0] * len(zygotes), self._log.read_text()

    def kill_at(self, step: int, zygotes: Sequence[Zygote]) -> None:
        """Go on, and kill every process once this step is in the log."""
        children = self.start(zygotes)
        deadline = time.monotonic() + 120
        while len(train_lines(self.out) if (self.out / "log.jsonl").exists() else []) < step:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.002)
        for child in children:
            child.kill()
        assert {child.wait() for child in children} <= {-9, 0}

    def trace(self) -> list[dict[str, Any]]:
        """Return what was logged of each step."""
        return train_lines(self.out)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the final weights."""
        return load_file(self.out / "model.safetensors")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


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
    zygotes: list[Zygote],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world, kills, steps = case
    made = small_cache(tmp_path)
    used = zygotes[:world]
    calm, killed = (Run(tmp_path, name, made, steps) for name in ("calm", "killed"))
    calm.finish(used)
    moments = sorted(Random(7 * world).sample(range(2, steps - 5), kills))
    for moment in moments:
        killed.kill_at(moment, used)
    killed.finish(used)
    assert [line["step"] for line in killed.trace()] == list(range(1, steps + 1))
    assert killed.trace() == calm.trace()
    expected, found = calm.weights(), killed.weights()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with capsys.disabled():
        sys.stdout.write(
            f"\ntraining, {world} rank(s): {kills} kills in {steps} steps, the same losses and weights\n"
        )
