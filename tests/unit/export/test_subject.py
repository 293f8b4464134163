"""A student is described in timm's words, with the run's own input."""

from dataclasses import replace

import pytest
import torch

from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError
from kdcache.export.subject import Subject
from kdcache.students import build_student
from kdcache.train.trained import TrainedRun
from tests.support.training import TINY_VIT


def test_the_description_has_the_runs_classes_input_and_arguments(subject: Subject) -> None:
    config = subject.timm_config()
    assert (config["architecture"], config["num_classes"]) == ("deit_tiny_distilled_patch16_224", 10)
    assert config["model_args"] == TINY_VIT
    cfg = config["pretrained_cfg"]
    assert (cfg["input_size"], cfg["mean"], cfg["num_classes"]) == ([3, 24, 24], [0.4, 0.5, 0.6], 10)
    assert cfg["classifier"] == ("head", "head_dist")


def test_timms_evaluation_would_crop_as_the_runs_did(subject: Subject) -> None:
    policy = ViewPolicy.named("center", size=24, crop_pct=1.0, interpolation="bilinear")
    config = subject.run.config.model_copy(update={"val_policy": policy})
    cfg = replace(subject, run=replace(subject.run, config=config)).timm_config()["pretrained_cfg"]
    assert (cfg["crop_pct"], cfg["interpolation"]) == (1.0, "bilinear")


def test_class_names_are_one_a_class(run: TrainedRun) -> None:
    names = tuple("abcdefghij")
    assert Subject.of(run, names).timm_config()["label_names"] == list(names)
    with pytest.raises(ConfigError, match="3 class names for the 10 classes"):
        Subject.of(run, names[:3])


def test_a_tag_of_pretrained_weights_is_no_part_of_the_architecture(subject: Subject) -> None:
    student = replace(subject.student, name="vit_tiny_patch16_224.augreg_in21k")
    assert replace(subject, student=student).architecture == "vit_tiny_patch16_224"


def test_models_of_our_own_are_imported_first(subject: Subject) -> None:
    assert subject.imports == "import timm"
    rednet = replace(subject, student=build_student("rednet26", num_classes=10, seed=0))
    assert rednet.imports == "import kdcache.students\nimport timm"


def test_a_student_of_any_size_takes_the_size_of_the_views(subject: Subject) -> None:
    student = build_student("resnet10t", num_classes=10, seed=0)
    assert replace(subject, student=student).spec.height == 24


def test_the_views_are_always_the_same_pictures(subject: Subject) -> None:
    views_B3HW = subject.views(3)
    assert (views_B3HW.shape, views_B3HW.dtype) == ((3, 3, 24, 24), torch.uint8)
    assert torch.equal(views_B3HW, subject.views(3))


def test_a_file_carries_the_address_of_a_cache_that_others_can_reach(subject: Subject) -> None:
    report = {**subject.run.report, "cache": "s3://bucket/cache"}
    facts = replace(subject, run=replace(subject.run, report=report)).metadata()
    assert facts["cache"] == "s3://bucket/cache"


def test_a_file_carries_the_caches_content_id(subject: Subject) -> None:
    facts = subject.metadata()
    assert facts["cache_id"] == subject.run.report["cache_id"]
    assert set(facts) == {"student", "num_classes", "cache_id", "kdcache"}
    unfinished = replace(subject, run=replace(subject.run, report={}))
    assert set(unfinished.metadata()) == {"student", "num_classes"}
