"""Where a process finds its place."""

import pytest
import torch

from kdcache.errors import ConfigError
from kdcache.runtime.dist import World, all_sum, process_group


def test_without_torchrun_the_world_has_one_rank() -> None:
    assert World.from_env({}) == World(0, 1, 0)
    assert World.from_env({}).is_main


def test_torchrun_s_environment_is_read() -> None:
    world = World.from_env({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert world == World(5, 8, 1)
    assert not world.is_main


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "1"}, "not WORLD_SIZE"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 'x', expected a number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "expected 0 <= RANK < WORLD_SIZE"),
    ],
)
def test_a_broken_environment_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World.from_env(environ)


def test_a_world_of_one_needs_no_process_group() -> None:
    with process_group(World(), torch.device("cpu")):
        assert not torch.distributed.is_initialized()
        assert all_sum(torch.ones(2), World()).tolist() == [1.0, 1.0]


def test_a_process_group_sums_and_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks would need two processes; one rank that believes in two shows the calls are right."""
    calls: list[str] = []
    monkeypatch.setattr("torch.distributed.init_process_group", calls.append)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: calls.append("end"))
    monkeypatch.setattr("torch.distributed.all_reduce", lambda values: values.mul_(2))
    with process_group(World(0, 2, 0), torch.device("cpu")):
        assert all_sum(torch.ones(1), World(0, 2, 0)).tolist() == [2.0]
    assert calls == ["gloo", "end"]
