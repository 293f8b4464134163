"""Which tasks compute which units, and what has to be given for them."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError, ManifestMismatchError
from kdcache.precompute import precompute
from kdcache.precompute.plan import Task
from kdcache.precompute.workbench import Workbench, tasks_for
from kdcache.store.layout import Layout, Unit
from kdcache.store.objects import LocalObjects
from kdcache.store.root import read_manifest
from tests.support.precompute_runs import TINY, config_for
from tests.support.shards import write_shard, write_shards
from tests.support.stores import make_manifest

LAYOUT = Layout.of(make_manifest().identity)


def test_units_of_one_block_and_group_are_one_task() -> None:
    units = [Unit.samples(1), Unit.views(1, 1), Unit("vit", 1, 1), Unit("cnn", 1, 1), Unit("cnn", 0, 0)]
    assert tasks_for(units, LAYOUT) == (
        Task(LAYOUT.blocks[0], 0, ("cnn",)),
        Task(LAYOUT.blocks[1], 1, ("vit", "cnn")),
    )


def test_samples_alone_come_with_the_first_group() -> None:
    assert tasks_for([Unit.samples(2)], LAYOUT) == (Task(LAYOUT.blocks[2], 0, ()),)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [9, 5])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("workbench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(folder / "home"))
        precompute(config_for(folder / "c", shards), quiet=True)
    return folder / "c"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


def _bench(cache: Path, units: list[Unit], **settings: Any) -> Workbench:
    objects = LocalObjects(cache)
    given = {"cache": str(cache), "readers": 0, "device": "cpu", **settings}
    return Workbench.of(given, objects, read_manifest(objects), units, where="test", quiet=True)


def test_objects_come_out_as_they_were(cache: Path, shards: list[str]) -> None:
    units = [Unit("tiny_cnn", 1, 0), Unit("tiny_cnn", 2, 1)]
    bench = _bench(cache, units, shards=shards, teachers=[TINY])
    made: dict[str, bytes] = {}

    def keep(store: Any, task: Task) -> None:
        assert task.teachers == ("tiny_cnn",)
        made.update({entry.path: store.get(entry.path) for entry in store.list("") if "/c/" in entry.path})

    bench.run(units, keep, quiet=True)
    assert len(made) == 2 * (4 + 2 + 1)
    assert {path: (cache / path).read_bytes() for path in made} == made


def test_views_need_no_teacher(cache: Path, shards: list[str]) -> None:
    assert _bench(cache, [Unit.views(0, 1)], shards=shards[0]).teachers == ()


@pytest.mark.parametrize(
    ("unit", "settings", "message"),
    [
        (Unit("tiny_cnn", 0, 0), {}, "targets of tiny_cnn are broken; give the shards"),
        (
            Unit("tiny_cnn", 0, 0),
            {"teachers": [{"model": TINY, "name": "x"}]},
            "'x' is no teacher of the cache",
        ),
        (
            Unit("tiny_cnn", 0, 0),
            {"teachers": [TINY], "shards": 1},
            "not given: train-000.tar; give them with",
        ),
        (Unit.samples(0), {"shards": 1}, "not given: train-000.tar; give them with"),
        (Unit.samples(0), {"shards": None}, "not given: train-000.tar; give them with"),
    ],
)
def test_what_is_needed_and_not_given_is_named(
    cache: Path, shards: list[str], unit: Unit, settings: dict[str, Any], message: str
) -> None:
    place = settings.get("shards", 0)
    given = [] if place is None else [shards[place]]
    with pytest.raises(ConfigError, match=message):
        _bench(cache, [unit], **settings | {"shards": given})


def test_a_teacher_that_is_not_given_is_named(cache: Path, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match="targets of other are broken, too"):
        _bench(cache, [Unit("tiny_cnn", 0, 0), Unit("other", 0, 0)], shards=shards, teachers=[TINY])


def test_a_strange_shard_is_refused(tmp_path: Path, cache: Path, shards: list[str]) -> None:
    strange = str(write_shard(tmp_path / "strange.tar", range(3)))
    with pytest.raises(ConfigError, match=r"'strange.tar' is no shard of the cache"):
        _bench(cache, [Unit.samples(0)], shards=[*shards, strange])


def test_other_weights_are_refused(cache: Path, shards: list[str]) -> None:
    teacher = {"model": TINY, "kwargs": {"seed": 5}}
    with pytest.raises(ManifestMismatchError, match="weights_sha256"):
        _bench(cache, [Unit("tiny_cnn", 0, 0)], shards=shards, teachers=[teacher])


def test_the_settings_of_the_run_may_be_given_again(cache: Path, shards: list[str]) -> None:
    run = {"policy": "center", "views": 2, "rows_per_block": 64, "seeds_per_group": 1}
    assert (
        _bench(cache, [Unit("tiny_cnn", 0, 0)], shards=shards, teachers=[TINY], **run).tuning.batch_size == 8
    )
