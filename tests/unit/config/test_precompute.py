"""The settings of stage one."""

from pathlib import Path

import pytest

from kdcache.config.precompute import PrecomputeConfig, TeacherConfig
from kdcache.errors import ConfigError

SMALL = {"shards": "a.tar", "cache": "c.zarr", "teachers": "resnet50"}


def _parse(**changes: object) -> PrecomputeConfig:
    return PrecomputeConfig.parse({**SMALL, **changes}, where="test")


def test_a_name_is_enough_for_a_teacher_and_a_policy() -> None:
    config = _parse(policy="light")
    assert config.shards == ("a.tar",)
    assert config.teachers == (TeacherConfig(model="resnet50"),)
    assert config.policy.crop == "padded"


def test_settings_come_back_from_yaml(tmp_path: Path) -> None:
    config = _parse(
        teachers=[{"model": "a.b:c", "top_k": 5, "checkpoint": "w.pth"}, "resnet18"], max_bad="1%"
    )
    (tmp_path / "args.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert PrecomputeConfig.from_yaml(tmp_path / "args.yaml") == config


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), (0.25, 0.25), ("0.5", 0.5)])
def test_the_share_of_bad_samples_may_be_a_percentage(text: object, share: float) -> None:
    assert _parse(max_bad=text).max_bad == pytest.approx(share)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("mylab.nets:Big_CNN", "big_cnn"),
        ("hf-hub:org/My Model", "my-model"),
        ("x:---", "teacher"),
    ],
)
def test_a_teacher_s_name_is_made_from_its_model(model: str, name: str) -> None:
    assert TeacherConfig(model=model).cache_name == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": ["resnet50", "resnet50"]}, "two teachers are called 'resnet50'"),
        (
            {"teachers": ["a.features", {"model": "a", "features": True}]},
            "two teachers are called 'a.features'",
        ),
        ({"teachers": [{"model": "a", "mean": [0, 0, 0]}]}, "mean and std belong together"),
        ({"teachers": [{"model": "a", "mean": [0, 0, 0], "std": [1, 0, 1]}]}, "three numbers above 0"),
        ({"teachers": []}, "teachers"),
        ({"views": 10, "seeds_per_group": 4}, "not a multiple of seeds_per_group 4"),
        ({"top_k": 5}, "unknown field 'top_k'"),
        ({"max_bad": 1.5}, "max_bad"),
        ({"policy": "rcc"}, "did you mean 'rrc'"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parse(**changes)


def test_teachers_may_be_anything_but_a_number() -> None:
    with pytest.raises(ConfigError, match="teachers"):
        _parse(teachers=3)
