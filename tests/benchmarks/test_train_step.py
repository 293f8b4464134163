"""The benchmark of the training step, with tiny views and networks."""

from pathlib import Path

import pytest
import torch

from tests.benchmarks import train_step
from tests.benchmarks.step_data import StepData, home_in, make_data
from tests.benchmarks.step_share import SampleCost, sample_costs
from tests.benchmarks.step_sides import Case, StepSeconds, step_seconds
from tests.support.training import TINY_VIT

COST = SampleCost(lookup=1e-5, seeding=5e-6, decode=2e-3, render=1e-3, shard=1e-4)
TINY = {"batch_size": 4, "kwargs": TINY_VIT | {"img_size": 32, "patch_size": 16}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StepData:
    folder = tmp_path_factory.mktemp("step")
    with home_in(folder):
        return make_data(folder / "data", [32, 32], views=3, size=32)


@pytest.mark.parametrize("source", ["loader", "memory"])
def test_every_side_takes_its_turns_over_as_many_images(data: StepData, tmp_path: Path, source: str) -> None:
    case = Case("test_resnet", "deit_tiny_distilled_patch16_224", source=source, **TINY)  # type: ignore[arg-type]
    with home_in(tmp_path):
        seconds = step_seconds(case, data, tmp_path, repeats=2)
    assert seconds.images == data.num_samples
    rows = train_step.step_rows(case, seconds, [COST])
    assert [row.goal for row in rows] == [train_step.STEP_GOAL, train_step.LIVE_GOAL]
    assert all(row.median > 0.0 for row in rows)


def test_every_moment_of_a_batch_belongs_to_one_part(data: StepData, tmp_path: Path) -> None:
    with home_in(tmp_path):
        costs = sample_costs(data, passes=2, batch_size=16)
    assert all(min(vars(cost).values()) > 0.0 for cost in costs)
    (row,) = train_step.share_rows(costs)
    assert (row.goal, row.at_least) == (train_step.SHARE_GOAL, False)


def test_loader_processes_take_turns_with_targets_and_without(data: StepData, tmp_path: Path) -> None:
    with home_in(tmp_path):
        (row,) = train_step.loader_rows(data, repeats=1, processes=1)
    assert row.median > 0.0


def test_accelerators_are_also_measured_without_their_loaders() -> None:
    cases = train_step.cases_on(torch.device("cuda"), short=False)
    assert len(cases) == 8
    assert {case.source for case in cases} == {"loader", "memory"}
    assert not any(case.on_cpu for case in cases)


@pytest.mark.parametrize(
    ("device_seconds", "bottleneck"), [(1e-2, "device"), (1e-4, "decode")], ids=["slow device", "fast device"]
)
def test_the_slowest_part_is_named(device_seconds: float, bottleneck: str) -> None:
    seconds = StepSeconds([1.0], [1.0], [2.0], [1.0], images=4, link=1e-5, device=device_seconds)
    note = train_step.step_rows(Case("a", "b", batch_size=4), seconds, [COST])[0].note
    assert f"bottleneck {bottleneck} " in note


def test_bars_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sides = {"labels only": 12.0, "cached targets": 11.9, "live teacher": 8.0}
    train_step.draw_bars({"resnet18 to vit_tiny": sides}, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 1000
