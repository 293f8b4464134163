"""From settings to a teacher."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from kdcache.config.precompute import TeacherConfig
from kdcache.errors import ConfigError
from kdcache.models.preprocess import InputSpec
from kdcache.teachers.build import build_teacher

CPU = torch.device("cpu")
TINY = "tests.support.teachers:tiny_cnn"
STRANGER = "tests.support.teachers:stranger_cnn"


def test_a_factory_s_own_preprocessing_is_used() -> None:
    teacher = build_teacher(TeacherConfig(model=TINY), device=CPU)
    assert teacher.inputs == InputSpec(24, 24, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bicubic")
    assert (teacher.name, teacher.architecture, teacher.num_classes) == ("tiny_cnn", TINY, 10)


def test_settings_replace_what_the_network_says() -> None:
    config = TeacherConfig(
        model=TINY, name="cnn", mean=(0, 0, 0), std=(1, 1, 1), size=(20, 28), interpolation="bilinear"
    )
    teacher = build_teacher(config, device=CPU)
    assert teacher.inputs == InputSpec(20, 28, (0, 0, 0), (1, 1, 1), "bilinear")
    assert teacher.name == "cnn"


def test_a_network_that_says_nothing_takes_views_as_they_are() -> None:
    config = TeacherConfig(model=STRANGER, mean=(0, 0, 0), std=(1, 1, 1))
    teacher = build_teacher(config, device=CPU, view_size=(16, 18))
    assert teacher.inputs == InputSpec(16, 18, (0, 0, 0), (1, 1, 1), "bicubic")


def test_a_network_that_says_nothing_needs_its_normalisation() -> None:
    with pytest.raises(ConfigError, match="give --teacher-mean and --teacher-std"):
        build_teacher(TeacherConfig(model=STRANGER), device=CPU, view_size=(16, 16))


def test_a_timm_teacher_has_timm_s_preprocessing(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", pretrained=False)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    teacher = build_teacher(
        TeacherConfig(model="test_resnet", checkpoint=tmp_path / "w.safetensors"), device=CPU
    )
    assert teacher.inputs is not None
    assert (teacher.inputs.height, teacher.num_classes) == (160, 1000)
    views_B3HW = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert teacher(views_B3HW).shape == (2, 1000)
