"""``verify --recompute``: the teacher says again what is stored, or the cache is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdcache.config.precompute import TeacherConfig
from kdcache.data.agreement import AgreementReport
from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError, ViewMismatchError
from kdcache.precompute import precompute
from kdcache.precompute.recompute import recompute
from kdcache.store.reader import Cache, open_cache
from kdcache.teachers.network import NetworkTeacher
from tests.support.precompute_runs import TINY, config_for
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards

TEACHER: dict[str, Any] = {"model": TINY, "kwargs": {"num_classes": 300}, "encoding": "gap8", "top_k": 20}
GIVEN = TeacherConfig.model_validate({"model": TINY, "kwargs": {"num_classes": 300}})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDCACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    return write_shards(tmp_path / "shards", [13, 6])


@pytest.fixture
def cache(tmp_path: Path, shards: list[str]) -> Cache:
    precompute(config_for(tmp_path / "c.zarr", shards, teachers=[TEACHER]), quiet=True)
    return open_cache(tmp_path / "c.zarr")


def again(
    shards: list[str], cache: Cache, config: TeacherConfig = GIVEN, *, views: int = 30
) -> AgreementReport:
    return recompute(shards, cache, config, views=views, device="cpu", quiet=True)


def test_the_teacher_says_again_what_is_stored(shards: list[str], cache: Cache) -> None:
    report = again(shards, cache)
    assert (report.views, report.top1_equal, report.beyond) == (30, 30, 0)
    assert 0.0 < report.mean_kl < 1e-3
    assert "gap8 allows 0.0015" in report.summary()


def test_more_views_than_there_are_means_all(shards: list[str], cache: Cache) -> None:
    assert again(shards, cache, views=1000).views == 19 * 4


def test_other_weights_are_refused_before_anything_is_rendered(shards: list[str], cache: Cache) -> None:
    other = TeacherConfig.model_validate({"model": TINY, "kwargs": {"num_classes": 300, "seed": 1}})
    with pytest.raises(ManifestMismatchError, match=r"has weights sha256 .* was made with"):
        again(shards, cache, other)


def test_another_computation_with_the_same_weights_is_found(
    shards: list[str], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reversed_classes(teacher: NetworkTeacher, views_B3HW: torch.Tensor) -> torch.Tensor:
        return say(teacher, views_B3HW).flip(1)

    say = NetworkTeacher.__call__
    monkeypatch.setattr(NetworkTeacher, "__call__", reversed_classes)
    with pytest.raises(ManifestMismatchError, match="30 of 30 views have other targets"):
        again(shards, cache)


def test_views_are_checked_on_the_way(
    shards: list[str], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdcache.data.cell_views.render_views", lambda *_: _black())
    with pytest.raises(ViewMismatchError, match="not the one that the teacher saw"):
        again(shards, cache)


def _black() -> Any:
    return torch.zeros((1, 3, 24, 24), dtype=torch.uint8).numpy()


def test_the_teacher_of_a_cache_with_one_needs_no_name(tmp_path: Path, shards: list[str]) -> None:
    precompute(config_for(tmp_path / "n.zarr", shards, teachers=[TEACHER | {"name": "cnn"}]), quiet=True)
    assert again(shards, open_cache(tmp_path / "n.zarr")).teacher == "cnn"


def test_a_name_that_the_cache_does_not_know_is_refused(shards: list[str], cache: Cache) -> None:
    with pytest.raises(ConfigError, match="no teacher 'other', but tiny_cnn"):
        again(shards, cache, GIVEN.model_copy(update={"name": "other"}))


def test_targets_that_are_not_there_yet_are_missed(tmp_path: Path, shards: list[str]) -> None:
    cache = open_cache(make_real_cache(tmp_path / "e.zarr", shards, groups=()))
    with pytest.raises(MissingViewError, match="run kdcache precompute"):
        again(shards, cache)
