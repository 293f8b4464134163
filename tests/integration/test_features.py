"""The embedding of a teacher, cached beside its logits and read back joined."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from kdcache.config.precompute import TeacherConfig
from kdcache.data.loader import distill_loader
from kdcache.errors import ConfigError, MissingViewError, TeacherError
from kdcache.losses.feature import FeatureLoss
from kdcache.precompute import extension_of, precompute
from kdcache.store import open_cache
from kdcache.store.verify import verify
from kdcache.teachers import build_teacher
from tests.support.precompute_runs import TINY, config_for, data_objects, grey_shard, invoke, words
from tests.support.shards import write_shards

FEATURES = "tests.support.teachers:feature_cnn"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_shards(tmp_path_factory.mktemp("shards"), [13, 6])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A timm network with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", pretrained=False, num_classes=10)
    path = tmp_path_factory.mktemp("weights") / "cnn.safetensors"
    save_file(network.state_dict(), path)
    kwargs = {"num_classes": 10}
    return {"model": "test_resnet", "name": "cnn", "checkpoint": str(path), "kwargs": kwargs, "size": 32}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, shards: list[str], teacher: dict[str, Any]) -> Path:
    path = tmp_path_factory.mktemp("cache") / "c.zarr"
    report = precompute(config_for(path, shards, teachers=[teacher | {"features": True}]), quiet=True)
    assert report.units == 2 * 6
    assert "features cnn.features: 96 numbers a view" in report.summary()
    return path


def test_a_cache_with_features_is_intact(cache: Path) -> None:
    assert verify(cache).units == verify(cache).total_units == 3 + 6 + 12


def test_logits_are_to_the_bit_those_of_a_run_without_features(
    tmp_path: Path, cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    precompute(config_for(tmp_path / "plain.zarr", shards, teachers=[teacher]), quiet=True)
    found, plain = data_objects(cache), data_objects(tmp_path / "plain.zarr")
    assert {path: found[path] for path in plain} == plain
    assert {path.split("/")[1] for path in found.keys() - plain.keys()} == {"cnn.features"}


def test_features_may_come_later_and_are_the_same(
    tmp_path: Path, cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    path = tmp_path / "later.zarr"
    precompute(config_for(path, shards, teachers=[teacher]), quiet=True)
    wanted = teacher | {"features": True}
    settings = {"shards": shards, "cache": str(path), "teachers": [wanted], "readers": 0, "device": "cpu"}
    report = precompute(extension_of(settings, where="test"), grow=True, quiet=True)
    assert (report.units, report.units_before) == (6, 6)
    assert data_objects(path) == data_objects(cache)
    assert open_cache(path).content_id() == open_cache(cache).content_id()


def test_a_run_that_died_between_logits_and_features_goes_on(
    tmp_path: Path, cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    path = shutil.copytree(cache, tmp_path / "c.zarr")
    for left in (
        "commits/cnn.features/1-0.json",
        "teachers/cnn.features/targets/c/0/0/1",
        "commits/index.json",
    ):
        (path / left).unlink()
    config = config_for(path, shards, teachers=[teacher | {"features": True}], parallel_batches=2)
    report = precompute(config, quiet=True)
    assert (report.units, report.units_before) == (1, 11)
    assert data_objects(path) == data_objects(cache)


def test_a_later_run_without_features_leaves_them_alone(
    cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    report = precompute(config_for(cache, shards, teachers=[teacher]), quiet=True)
    assert (report.units, report.units_before) == (0, 6)
    assert open_cache(cache).feature_units == {"cnn": "cnn.features"}


def test_a_batch_carries_what_the_classifier_was_given(
    cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    loader = distill_loader(shards, cache=cache, batch_size=8, features=["cnn"])
    config = TeacherConfig.parse(teacher | {"features": True}, where="test")
    asked = build_teacher(config, device=torch.device("cpu"))
    network: Any = timm.create_model("test_resnet", num_classes=10, checkpoint_path=teacher["checkpoint"])
    for batch in loader.epoch(0):
        assert list(batch.teachers) == list(batch.features) == ["cnn"]
        features_BD = batch.features["cnn"]
        assert (features_BD.shape, features_BD.dtype) == ((8, 96), torch.float16)
        logits_BC, expected_BD = asked.with_features(batch.images_B3HW)
        torch.testing.assert_close(features_BD.float(), expected_BD, rtol=2**-10, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(network.get_classifier()(expected_BD), logits_BC)
            loss = FeatureLoss(96, 96, kind="mse", projector=False)(expected_BD, features_BD)
        assert float(loss) < 1e-6


def test_features_alone_may_be_read(cache: Path, shards: list[str]) -> None:
    loader = distill_loader(shards, cache=cache, batch_size=4, teachers=[], features=["cnn"])
    batch = next(iter(loader.epoch(0)))
    assert (batch.teachers, batch.features["cnn"].shape) == ({}, (4, 96))


def test_features_that_are_not_there_are_refused_by_name(cache: Path, shards: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"no features of teacher 'vit'.*has those of cnn"):
        distill_loader(shards, cache=cache, batch_size=4, features=["vit"])


def test_info_and_the_dry_run_say_what_features_take(tmp_path: Path, cache: Path, shards: list[str]) -> None:
    facts = json.loads(invoke(["info", str(cache), "--json"]).stdout)
    assert list(facts["teachers"]) == ["cnn"]
    assert facts["features"]["cnn"]["num_features"] == 96
    size = facts["features"]["cnn"]["bytes_per_view"]
    # Blocks of 8 rows compress badly, and each object of two chunks has an index.
    assert 96 < size < 1.3 * 192
    assert "Features of cnn" in invoke(["info", str(cache)]).stdout
    flags = ["--teacher", f"cnn={FEATURES}", "--store-features", "--dry-run"]
    shown = invoke(words(tmp_path / "new.zarr", shards, *flags))
    assert (
        "Features cnn.features\n  numbers         16 a view, in float16\n  units           6 to do"
        in shown.stdout
    )


def test_members_of_an_ensemble_may_have_features(tmp_path: Path, shards: list[str]) -> None:
    flags = [
        "--teacher",
        f"a={FEATURES}",
        "--teacher",
        f"b={FEATURES}",
        "--combine",
        "mean-prob",
        "--store-features",
    ]
    result = invoke(words(tmp_path / "c.zarr", shards, *flags))
    assert result.exit_code == 0, result.stderr
    cache = open_cache(tmp_path / "c.zarr")
    assert cache.teachers == ("a", "b", "ensemble")
    assert cache.feature_units == {"a": "a.features", "b": "b.features"}
    np.testing.assert_array_equal(cache.features("a", 0, 1), cache.features("b", 0, 1))


def test_train_finds_the_only_teacher_beside_its_features(
    tmp_path: Path, cache: Path, shards: list[str]
) -> None:
    student = "--student vit_tiny_patch16_224 --student-kwargs img_size=24 --student-kwargs patch_size=12"
    small = "--student-kwargs depth=1 --student-kwargs embed_dim=16 --student-kwargs num_heads=1"
    rest = f"--batch-size 8 --steps 2 --workers 0 --device cpu --out {tmp_path / 'run'} --dry-run"
    result = invoke(
        ["train", *shards, "--cache", str(cache), *student.split(), *small.split(), *rest.split()]
    )
    assert result.exit_code == 0, result.stderr


def test_verify_recomputes_the_teacher_and_not_its_features(
    cache: Path, shards: list[str], teacher: dict[str, Any]
) -> None:
    more = [
        "--teacher-checkpoint",
        teacher["checkpoint"],
        "--teacher-kwargs",
        "num_classes=10",
        "--device",
        "cpu",
    ]
    look = ["verify", str(cache), "--views", *[shards[0]], "--recompute", "5"]
    right = invoke([*look, "--teacher", "test_resnet", *more])
    assert right.exit_code == 0, right.stderr
    wrong = invoke([*look, "--teacher", "cnn.features=test_resnet", *more])
    assert wrong.exit_code == 2
    assert "no teacher 'cnn.features'" in wrong.stderr


@pytest.mark.parametrize(
    ("bright", "message"),
    [
        (float("inf"), "teacher 'feature_cnn' returned NaN, "),
        (
            70_000.0,
            r"teacher 'feature_cnn' returned a feature of \+-70000 for sample '.*' of .*ends at 65,504",
        ),
    ],
)
def test_features_that_float16_cannot_hold_fail_the_unit(tmp_path: Path, bright: float, message: str) -> None:
    shard = grey_shard(tmp_path / "grey.tar", [0, 25, 50, 225])
    config = config_for(
        tmp_path / "c.zarr",
        [str(shard)],
        teachers=[{"model": FEATURES, "kwargs": {"bright": bright}, "features": True}],
    )
    with pytest.raises(TeacherError, match=message):
        precompute(config, quiet=True)
    assert not any("feature_cnn" in record.unit for record in open_cache(tmp_path / "c.zarr").records())


def test_a_network_that_gives_no_features_is_refused_before_anything_is_written(
    tmp_path: Path, shards: list[str]
) -> None:
    config = config_for(tmp_path / "c.zarr", shards, teachers=[{"model": TINY, "features": True}])
    with pytest.raises(ConfigError, match="has no forward_features and no forward_head"):
        precompute(config, quiet=True)
    assert not (tmp_path / "c.zarr").exists()


def test_features_that_are_not_committed_yet_are_missing(tmp_path: Path, shards: list[str]) -> None:
    flags = ["--teacher", f"cnn={FEATURES}"]
    assert invoke(words(tmp_path / "c.zarr", shards, *flags)).exit_code == 0
    with pytest.raises(MissingViewError, match="no features of teacher 'cnn'"):
        open_cache(tmp_path / "c.zarr").features("cnn", 0, 0)
