"""A run's student is evaluated on any shards, on the right views, beside the right teacher."""

import json
from pathlib import Path

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import CheckpointError, ConfigError, ManifestMismatchError, ShardError
from kdcache.train import TrainReport, train
from kdcache.train.evaluate_run import RunEvaluation, evaluate_run
from kdcache.train.trained import open_run
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shard
from tests.support.training import POLICY, small_cache, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path, TrainReport]:
    """Train three steps; return (folder, shards, cache, report)."""
    folder = tmp_path_factory.mktemp("eval")
    shards, cache = small_cache(folder)
    report = train(small_config(folder, shards, cache, steps=3, val=shards, val_cache=str(cache)))
    return folder, shards, cache, report


def _evaluate(
    made: tuple[Path, list[str], Path, TrainReport], shards: list[str], **flags: object
) -> RunEvaluation:
    settings: dict[str, object] = {"workers": 0, "device": "cpu", "quiet": True, "batch_size": 20}
    return evaluate_run(open_run(made[0] / "run"), shards, **(settings | flags))  # type: ignore[arg-type]


def test_the_runs_own_evaluation_comes_out_again(made: tuple[Path, list[str], Path, TrainReport]) -> None:
    _, shards, cache, report = made
    found = _evaluate(made, shards, cache=cache)
    assert report.evaluation is not None
    assert found.figures.facts() == pytest.approx(report.evaluation.facts(), abs=2e-6)
    assert (found.teacher, found.figures.samples) == ("formula", 48)
    assert sum(row.samples for row in found.per_class) == 48


def test_without_a_cache_the_views_are_centred_at_the_students_size(
    made: tuple[Path, list[str], Path, TrainReport],
) -> None:
    found = _evaluate(made, made[1][:1])
    assert found.policy == ViewPolicy.named("center", size=24).digest()
    assert found.policy == _evaluate(made, made[1][:1], policy="center").policy
    assert (found.cache, found.teacher, found.figures.agreement) == (None, None, None)


def test_a_policy_of_ones_own_is_used(made: tuple[Path, list[str], Path, TrainReport]) -> None:
    policy = ViewPolicy.named("center", size=30, crop_pct=1.0)
    assert _evaluate(made, made[1][:1], policy=policy).policy == policy.digest()


def test_programs_and_people_read_the_figures(
    made: tuple[Path, list[str], Path, TrainReport], tmp_path: Path
) -> None:
    found = _evaluate(made, made[1], cache=made[2])
    facts = json.loads(found.to_json())
    assert facts["ece"] == pytest.approx(found.figures.ece, abs=1e-6)
    assert len(facts["per_class"]) == 10
    assert "worst 10 of 10 classes" in found.to_text()
    found.save_per_class(tmp_path / "classes.csv")
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 11
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        found.save_per_class(tmp_path / "nowhere" / "classes.csv")


def test_shards_without_a_label_need_a_cache(
    made: tuple[Path, list[str], Path, TrainReport], tmp_path: Path
) -> None:
    shard = str(write_shard(tmp_path / "train-000.tar", range(12), labels={}))
    with pytest.raises(ShardError, match=r"none of the samples of .* has a label"):
        _evaluate(made, [shard])
    cache = make_real_cache(tmp_path / "c.zarr", [shard], policy=POLICY)
    found = _evaluate(made, [shard], cache=cache)
    assert (found.figures.labelled, found.figures.top1, found.figures.ece) == (0, None, None)
    assert found.figures.agreement is not None
    assert "worst" not in found.to_text()


def test_a_cache_of_other_classes_is_a_mismatch(
    made: tuple[Path, list[str], Path, TrainReport], tmp_path: Path
) -> None:
    shard = str(write_shard(tmp_path / "train-000.tar", range(6), labels=dict.fromkeys(range(6), 1)))
    cache = make_real_cache(tmp_path / "c.zarr", [shard], policy=POLICY, num_classes=6)
    with pytest.raises(ManifestMismatchError, match="counts 6 classes, the student 10"):
        _evaluate(made, [shard], cache=cache)


def test_labels_beyond_the_students_classes_are_refused(
    made: tuple[Path, list[str], Path, TrainReport], tmp_path: Path
) -> None:
    shard = str(write_shard(tmp_path / "val.tar", range(4), labels=dict.fromkeys(range(4), 17)))
    with pytest.raises(ShardError, match="17"):
        _evaluate(made, [shard])


def test_teachers_that_are_not_there_are_refused(made: tuple[Path, list[str], Path, TrainReport]) -> None:
    with pytest.raises(ConfigError, match=r"has the teachers formula, and no 'resnet'; choose one"):
        _evaluate(made, made[1], cache=made[2], teacher="resnet")
    with pytest.raises(ConfigError, match="give the cache with --cache"):
        _evaluate(made, made[1], teacher="formula")


def test_a_run_without_weights_is_refused(made: tuple[Path, list[str], Path, TrainReport]) -> None:
    with pytest.raises(CheckpointError, match=r"has no model_best\.safetensors"):
        open_run(made[0] / "run", weights="best")
