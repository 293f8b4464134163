"""An actor without Ray: its calls end when their task is committed, or as the worker ends."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from kdcache.config.precompute import PrecomputeConfig
from kdcache.errors import ConfigError, TeacherError
from kdcache.precompute.plan import Plan
from kdcache.precompute.prepare import Prepared, Settings, prepare, work_of
from kdcache.precompute.ray_actor import Answer, UnitActor
from tests.support.precompute_runs import config_for, grey_shard
from tests.support.shards import write_shards

NAN = [{"model": "tests.support.teachers:nan_cnn"}]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


def _run(config: PrecomputeConfig) -> tuple[Prepared, Plan]:
    prepared = prepare(Settings.of(config), say=lambda _: None)
    return prepared, work_of(prepared)


def test_a_call_ends_when_its_task_is_committed(tmp_path: Path) -> None:
    config = config_for(tmp_path / "c.zarr", write_shards(tmp_path, [24, 22]))
    prepared, work = _run(config)
    actor = UnitActor(config, grow=False, num_samples=46)

    async def calls() -> list[Answer]:
        before = await actor.ready()
        assert (before.calls, before.report.units) == (4, 0)
        return list(await asyncio.gather(*(actor.do(task) for task in work.pending[:3])))

    answers = asyncio.run(calls())
    assert {name for name in prepared.writer.committed() if "cnn" in name} == {
        f"tiny_cnn/{task.block.index}-{task.group}" for task in work.pending[:3]
    }
    assert max(answer.report.units for answer in answers) == 3


def test_a_task_that_is_committed_already_is_passed_over(tmp_path: Path) -> None:
    config = config_for(tmp_path / "c.zarr", write_shards(tmp_path, [8]))
    task = _run(config)[1].pending[0]
    actor = UnitActor(config, grow=False, num_samples=8)

    async def twice() -> list[Answer]:
        return [await actor.do(task), await actor.do(task)]

    assert [answer.report.units for answer in asyncio.run(twice())] == [1, 1]


def test_only_teachers_that_have_not_seen_a_task_do_it(tmp_path: Path) -> None:
    two = [{"model": "tests.support.teachers:tiny_cnn", "name": name} for name in ("a", "b")]
    config = config_for(tmp_path / "c.zarr", write_shards(tmp_path, [8]), teachers=two)
    task = _run(config)[1].pending[0]

    async def do(names: tuple[str, ...]) -> Answer:
        return await UnitActor(config, grow=False, num_samples=8).do(replace(task, teachers=names))

    assert asyncio.run(do(("a",))).report.units == 1
    assert asyncio.run(do(("a", "b"))).report.units == 1


def test_what_the_worker_meets_is_raised_by_every_call_with_its_class(tmp_path: Path) -> None:
    shard = grey_shard(tmp_path / "white.tar", [255] * 20, labels=[1] * 20)
    config = config_for(tmp_path / "c.zarr", [str(shard)], teachers=NAN)
    tasks = _run(config)[1].pending
    actor = UnitActor(config, grow=False, num_samples=20)

    async def calls() -> None:
        for task in tasks[:2]:
            with pytest.raises(TeacherError, match="returned NaN"):
                await actor.do(task)

    asyncio.run(calls())


def test_a_cache_that_only_the_driver_sees_is_refused(tmp_path: Path) -> None:
    config = config_for(tmp_path / "c.zarr", write_shards(tmp_path, [8]))
    with pytest.raises(ConfigError, match="finds no cache at"):
        asyncio.run(UnitActor(config, grow=False, num_samples=8).ready())
    assert not (tmp_path / "c.zarr").exists()
