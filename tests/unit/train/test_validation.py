"""Validation sees the right views, and the right teacher."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.runtime.dist import World
from kdcache.students import build_student
from kdcache.train.validation import Validation, open_validation
from tests.support.training import TINY_VIT, small_cache, small_config


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], Path]:
    """Return (folder, shards, cache)."""
    folder = tmp_path_factory.mktemp("validation")
    return folder, *small_cache(folder)


def _open(made: tuple[Path, list[str], Path], *, num_classes: int = 10, **changes: Any) -> Validation | None:
    folder, shards, cache = made
    student = build_student("vit_tiny_patch16_224", num_classes=num_classes, seed=0, kwargs=TINY_VIT)
    config = small_config(folder, shards, cache, **changes)
    return open_validation(config, student, view_size=(24, 24), world=World())


def test_without_validation_shards_there_is_none(made: tuple[Path, list[str], Path]) -> None:
    assert _open(made) is None


def test_views_are_centred_at_the_students_size_by_default(made: tuple[Path, list[str], Path]) -> None:
    validation = _open(made, val=made[1])
    assert validation is not None
    assert (validation.loader.policy.crop, validation.loader.policy.size) == ("center", (24, 24))


def test_a_given_policy_is_used(made: tuple[Path, list[str], Path]) -> None:
    policy = {"preset": "center", "size": 30, "crop_pct": 1.0}
    validation = _open(made, val=made[1], val_policy=policy)
    assert validation is not None
    assert validation.loader.policy.crop_pct == 1.0
    assert validation.preprocess.spec.height == 24


def test_a_validation_cache_brings_its_policy_and_targets(made: tuple[Path, list[str], Path]) -> None:
    validation = _open(made, val=made[1], val_cache=str(made[2]))
    assert validation is not None
    assert validation.loader.policy.crop == "random-resized"
    assert list(next(iter(validation.loader)).teachers) == ["formula"]


def test_a_validation_cache_of_other_classes_is_refused(made: tuple[Path, list[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"--val-cache .* counts 10 classes, the student 7"):
        _open(made, num_classes=7, val=made[1], val_cache=str(made[2]))
