"""A checkpoint is whole, checked, and bound to its settings."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kdcache.errors import CheckpointError
from kdcache.train.checkpoint import Checkpoints
from kdcache.train.metrics import Figure

BINDING = {"lr": 0.1, "student_kwargs": {"depth": 2}}


def _state() -> dict[str, Any]:
    weight = torch.nn.Parameter(torch.arange(4.0))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(4)
    optimizer.step()
    return {
        "model": {"weight": weight.detach()},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }


def _saved(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder, BINDING)
    checkpoints.save(_state(), step=7)
    return checkpoints


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    state = _saved(tmp_path).load()
    torch.testing.assert_close(state["model"], _state()["model"], rtol=0, atol=0)
    assert state["optimizer"]["param_groups"] == _state()["optimizer"]["param_groups"]
    torch.testing.assert_close(state["optimizer"]["state"], _state()["optimizer"]["state"], rtol=0, atol=0)


def test_a_newer_checkpoint_takes_the_place_of_the_older(tmp_path: Path) -> None:
    _saved(tmp_path).save({"model": {}}, step=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000009.pt", "checkpoint.json"]


def test_a_state_file_without_its_index_is_not_a_checkpoint(tmp_path: Path) -> None:
    """A run that dies between the two leaves this."""
    checkpoints = _saved(tmp_path)
    (tmp_path / "checkpoint-00000009.pt").write_bytes(b"half")
    assert checkpoints.load()["model"]["weight"].tolist() == _state()["model"]["weight"].tolist()


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_flipped_byte_is_found(tmp_path: Path, at: int) -> None:
    checkpoints = _saved(tmp_path)
    path = tmp_path / "checkpoint-00000007.pt"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"checkpoint-00000007.pt is damaged: its sha256 is .*another --out"
    ):
        checkpoints.load()


def test_a_missing_state_file_is_named(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path)
    (tmp_path / "checkpoint-00000007.pt").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-00000007.pt cannot be read: No such file"):
        checkpoints.load()


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"file": "x"})])
def test_a_damaged_index_is_named(tmp_path: Path, text: str) -> None:
    checkpoints = _saved(tmp_path)
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"checkpoint.json is damaged"):
        checkpoints.load()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    _saved(tmp_path)
    other = Checkpoints(tmp_path, {"lr": 0.2, "student_kwargs": {"depth": 2}, "seed": 1})
    message = r"other settings \(lr: checkpoint 0\.1, now 0\.2; seed: checkpoint None, now 1\); resume with"
    with pytest.raises(CheckpointError, match=message):
        other.load()


def test_nothing_but_weights_is_ever_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, BINDING)
    checkpoints.save({"path": tmp_path}, step=1)  # an object that only a pickle can hold
    with pytest.raises(Exception, match=r"(?i)weights_only"):
        checkpoints.load()


def _kept(folder: Path, values: list[float], *, metric: str = "top1", most: int = 2) -> list[bool]:
    """Save and judge one state for each value, after steps 1, 2, ...; return which were the best so far."""
    checkpoints = Checkpoints(folder, BINDING)
    is_best = []
    for step, value in enumerate(values, start=1):
        checkpoints.save({"step": step}, step=step)
        is_best.append(checkpoints.keep_best(Figure(metric, value), most=most))
    return is_best


def _best_steps(folder: Path) -> list[int]:
    return [entry["step"] for entry in json.loads((folder / "checkpoint.json").read_text())["best"]]


@pytest.mark.parametrize(
    ("metric", "values", "is_best", "steps"),
    [
        ("top1", [0.2, 0.5, 0.3, 0.1], [True, True, False, False], [2, 3]),
        ("loss", [0.2, 0.5, 0.3, 0.1], [True, False, False, True], [4, 1]),
        ("top1", [0.5, 0.5, 0.5, 0.5], [True, False, False, False], [1, 2]),
        ("loss", [0.2, float("nan"), 0.1, float("inf")], [True, False, True, False], [3, 1]),
    ],
)
def test_the_best_states_stay_beside_the_newest(
    tmp_path: Path, metric: str, values: list[float], is_best: list[bool], steps: list[int]
) -> None:
    assert _kept(tmp_path, values, metric=metric) == is_best
    assert _best_steps(tmp_path) == steps
    names = {f"checkpoint-{step:08d}.pt" for step in {*steps, 4}}
    assert {path.name for path in tmp_path.iterdir()} == {*names, "checkpoint.json"}
    checkpoints = Checkpoints(tmp_path, BINDING)
    assert [checkpoints.load(step=step)["step"] for step in steps] == steps
    assert checkpoints.load()["step"] == 4


def test_a_best_state_is_checked_like_the_newest(tmp_path: Path) -> None:
    _kept(tmp_path, [0.9, 0.1, 0.2])
    (tmp_path / "checkpoint-00000001.pt").write_bytes(b"damaged")
    checkpoints = Checkpoints(tmp_path, BINDING)
    with pytest.raises(CheckpointError, match=r"checkpoint-00000001.pt is damaged: its sha256 is"):
        checkpoints.load(step=1)
    assert checkpoints.load()["step"] == 3


def test_a_step_of_which_nothing_is_kept_is_refused_with_those_that_are(tmp_path: Path) -> None:
    _kept(tmp_path, [0.1, 0.9, 0.2, 0.3])
    with pytest.raises(CheckpointError, match=r"no state after step 1; it has those after 2, 4$"):
        Checkpoints(tmp_path, BINDING).load(step=1)


def test_a_state_that_is_evaluated_again_is_kept_once(tmp_path: Path) -> None:
    _kept(tmp_path, [0.1, 0.9])
    checkpoints = Checkpoints(tmp_path, BINDING)
    checkpoints.save({"step": 2, "again": True}, step=2)
    assert checkpoints.load(step=2)["again"]
    assert checkpoints.keep_best(Figure("top1", 0.9), most=2)
    assert _best_steps(tmp_path) == [2, 1]


def test_another_figure_begins_a_new_list(tmp_path: Path) -> None:
    _kept(tmp_path, [0.1, 0.9])
    assert Checkpoints(tmp_path, BINDING).keep_best(Figure("loss", 3.0), most=2)
    assert _best_steps(tmp_path) == [2]
