"""What the manifest says of a teacher's embedding."""

import json
from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.store.layout import Layout
from kdcache.store.teacher_identity import TeacherIdentity, num_planes
from tests.support.stores import features_entry, make_manifest, make_teacher


def test_a_teacher_without_features_is_written_as_before_there_were_any() -> None:
    assert "features_of" not in json.loads(make_teacher().model_dump_json())
    assert "features_of" not in make_manifest().model_dump()["identity"]["teachers"]["cnn"]


def test_an_embedding_says_whose_it_is_and_survives_json() -> None:
    entry = features_entry(make_teacher(), "cnn", num_features=512)
    assert json.loads(entry.model_dump_json())["features_of"] == {"teacher": "cnn", "layer": "pre-logits"}
    assert TeacherIdentity.model_validate_json(entry.model_dump_json()) == entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "features16"}, "encoding features16 lacks features_of"),
        ({"features_of": {"teacher": "cnn"}}, "encoding gap8 has features_of"),
        ({"encoding": "features16", "features_of": {"teacher": "../up"}}, "cannot name a teacher"),
        ({"encoding": "features16", "features_of": {"teacher": "cnn", "layer": "conv1"}}, "pre-logits"),
    ],
)
def test_encoding_and_owner_belong_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TeacherIdentity.parse(make_teacher().model_dump() | changes, where="teacher")


def test_an_embedding_may_be_longer_than_there_are_classes_and_has_no_head() -> None:
    entry = features_entry(make_teacher(num_classes=20), "cnn", num_features=2048)
    assert (entry.num_planes, num_planes("features16", 2048, 20), entry.dtype) == (2048, 2048, "uint16")


def test_the_array_says_what_its_planes_are() -> None:
    teachers = {"cnn": make_teacher(), "cnn.features": features_entry(make_teacher(), "cnn")}
    spec = Layout.of(make_manifest(teachers=teachers).identity).targets["cnn.features"]
    assert spec.chunk == (1, 6, 8)
    assert spec.attributes == {
        "encoding": "features16",
        "features_of": "cnn",
        "num_features": 6,
        "planes": {"feature_float16": [0, 6]},
    }
