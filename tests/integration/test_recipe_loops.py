"""The recipes for other people's loops run as they stand, and learn alike from one cache."""

from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from kdcache.demo.recipe import LABELLED, MEAN, STD, UNLABELLED
from tests.support.processes import run, run_facts
from tests.support.source import ROOT

RECIPES = ROOT / "docs" / "recipes"
SECOND = UNLABELLED.replace("{000..003}", "000")
ALIKE = ("plain_pytorch", "accelerate_loop", "lightning_fabric", "lightning_module")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache two views of the demo's labelled pictures and of some unlabelled ones."""
    folder = tmp_path_factory.mktemp("loops")
    teacher = str(Path(LABELLED).parents[1] / "teacher.safetensors")
    run(
        [
            *("kdcache", "precompute", LABELLED, SECOND, "--cache", "cache.zarr", "--policy", "light"),
            *("--teacher", "kdcache.demo.teacher:fashion_cnn", "--teacher-checkpoint", teacher),
            *("--teacher-mean", *map(str, MEAN), "--teacher-std", *map(str, STD), "--teacher-size", "28"),
            *("--size", "28", "--views", "2", "--readers", "0", "--quiet"),
        ],
        folder=folder,
        environment={"KDCACHE_HOME": str(folder / "home")},
    )
    return folder


def _run(place: Path, name: str, *words: str, shards: tuple[str, ...] = (LABELLED,)) -> dict[str, Any]:
    script = str(RECIPES / f"{name}.py")
    return run_facts(
        [script, *shards, "--cache", "cache.zarr", *words],
        folder=place,
        environment={"KDCACHE_HOME": str(place / "home")},
    )


def _learns(losses: list[float]) -> bool:
    return mean(losses[-5:]) < mean(losses[:5])


@pytest.fixture(scope="module")
def plain(place: Path) -> dict[str, Any]:
    """Run the plain loop: the others are compared with it."""
    return _run(place, "plain_pytorch")


def test_the_plain_loop_learns_from_the_cache(plain: dict[str, Any]) -> None:
    assert plain["views"] == 4 * 200
    assert _learns(plain["losses"])


@pytest.mark.parametrize("name", ALIKE[1:])
def test_every_other_loop_takes_the_same_steps(place: Path, plain: dict[str, Any], name: str) -> None:
    facts = _run(place, name)
    assert facts["views"] == plain["views"]
    assert facts["losses"] == pytest.approx(plain["losses"], abs=1e-5)


def test_timms_loop_learns_and_has_a_checkpoint_of_its_ema(place: Path) -> None:
    facts = _run(place, "timm_task")
    assert _learns(facts["losses"])
    assert facts["checkpoint"] == ["state_dict_ema"]


def test_a_webdataset_pipeline_with_two_workers_learns_and_counts(place: Path) -> None:
    facts = _run(place, "webdataset_pipeline", "--epochs", "2", shards=(LABELLED, SECOND))
    assert _learns(facts["losses"])
    assert facts["counts"]["joined"] == 2 * 650
    assert facts["counts"]["checked"] > 64
    assert facts["counts"]["unknown"] == facts["counts"]["bad"] == 0


def test_every_recipe_is_in_the_index() -> None:
    index = (RECIPES / "index.md").read_text(encoding="utf-8")
    recipes = [path.name for path in RECIPES.iterdir() if path.suffix in {".md", ".py"}]
    assert [name for name in recipes if name != "index.md" and f"({name})" not in index] == []
