"""Shares of a run: everything is done, whoever dies."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.errors import ConfigError
from kdcache.precompute.plan import Task
from kdcache.precompute.source import Place, Share
from kdcache.store.layout import Block, Unit

TASKS = tuple(Task(Block(n, 0, n, 1), group, ("cnn", "vit")) for n in range(4) for group in (0, 1))


def _share(place: Place, committed: set[str]) -> Share:
    return Share(TASKS, place, committed=lambda: set(committed), is_committed=committed.__contains__)


def _commit(task: Task, committed: set[str]) -> None:
    committed.update(Unit(name, task.block.index, task.group).name for name in task.teachers)


def _work(share: Share, committed: set[str]) -> Iterator[Task]:
    while share.more():
        for task in share:
            _commit(task, committed)
            yield task


def test_one_worker_does_everything_in_order() -> None:
    committed: set[str] = set()
    assert list(_work(_share(Place(), committed), committed)) == list(TASKS)


@given(count=st.integers(1, 12), dead=st.sets(st.integers(0, 11)))
def test_living_workers_do_the_share_of_dead_ones(count: int, dead: set[int]) -> None:
    living = [n for n in range(count) if n not in dead] or [0]
    committed: set[str] = set()
    done = [task for n in living for task in _work(_share(Place(n, count), committed), committed)]
    assert sorted(done, key=TASKS.index) == list(TASKS)


def test_own_tasks_come_first() -> None:
    committed: set[str] = set()
    work = _work(_share(Place(1, 3), committed), committed)
    assert [next(work) for _ in range(3)] == list(TASKS[1::3])
    assert next(work) not in TASKS[1::3]


def test_a_unit_that_somebody_committed_meanwhile_is_passed_over() -> None:
    committed: set[str] = set()
    work = _work(_share(Place(), committed), committed)
    first = next(work)
    _commit(TASKS[1], committed)
    committed.add("cnn/1-0")
    assert first == TASKS[0]
    assert next(work) == Task(TASKS[2].block, 0, ("vit",))


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place(0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, Place(3, 8)),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Place(2, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_COUNT": "5",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Place(4, 5),
        ),
        ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2"}, Place(1, 2)),
    ],
)
def test_a_launcher_s_environment_names_the_share(environ: dict[str, str], place: Place) -> None:
    assert Place.from_env(environ) == place


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "3", "WORLD_SIZE": "3"},
        {"RANK": "x", "WORLD_SIZE": "3"},
        {"SLURM_ARRAY_TASK_ID": "", "SLURM_ARRAY_TASK_COUNT": "4"},
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--worker I/N"):
        Place.from_env(environ)
