"""A cache is made once; whoever comes again must agree with it."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.store.create import create_or_resume
from kdcache.store.manifest import Manifest
from kdcache.store.objects import LocalObjects
from kdcache.store.root import read_manifest
from tests.support.stores import make_manifest, make_teacher


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "c")


def test_a_new_cache_has_the_manifest_asked_for(objects: LocalObjects) -> None:
    assert create_or_resume(objects, make_manifest()) == make_manifest() == read_manifest(objects)


def test_an_equal_cache_is_resumed_untouched(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    before = objects.get("zarr.json")
    later = make_manifest()
    later = later.model_copy(update={"about": later.about.model_copy(update={"created": "later"})})
    assert create_or_resume(objects, later).about.created == "2026-01-01T00:00:00Z"
    assert objects.get("zarr.json") == before


def other_policy(**changes: Any) -> Manifest:
    return make_manifest(policy=ViewPolicy.named("rrc", size=32, **changes))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            make_manifest(teachers={"cnn": make_teacher(weights="b")}),
            r"teachers\.cnn\.weights_sha256 is '9a12",
        ),
        (make_manifest(teachers={"cnn": make_teacher(top_k=6)}), r"teachers\.cnn\.top_k is 5 there, 6 here"),
        (other_policy(flip=0.25), r"policy\.flip is 0\.5 there, 0\.25 here; policy_digest is"),
        (make_manifest(num_samples=(10, 8)), r"shards\[1\]\.num_samples is 7 there, 8 here"),
        (make_manifest(num_samples=(10,)), r"shards is a list of 2 there, a list of 1 here.*kdcache extend"),
        (make_manifest(num_aug_seeds=6), r"num_aug_seeds is 4 there, 6 here.*kdcache extend adds views"),
        (make_manifest(num_samples=[1] * 30), r"a list of 30 here"),
    ],
)
def test_each_field_that_differs_is_named_with_both_values_and_a_way_out(
    objects: LocalObjects, wanted: Manifest, message: str
) -> None:
    create_or_resume(objects, make_manifest())
    with pytest.raises(ManifestMismatchError, match=rf"{message}.*|{message}") as caught:
        create_or_resume(objects, wanted)
    assert "run with the settings that it was made with, or give --cache a new path" in str(caught.value)


def test_a_long_list_of_differences_is_cut_short(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest(num_samples=[1] * 30))
    with pytest.raises(ManifestMismatchError, match="and 22 more"):
        create_or_resume(objects, make_manifest(num_samples=[2] * 30))


def test_another_teacher_is_added_beside_the_first(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest(teachers={"a": make_teacher()}))
    merged = create_or_resume(objects, make_manifest(teachers={"b": make_teacher(encoding="hard")}))
    assert list(merged.identity.teachers) == list(merged.about.teachers) == ["a", "b"]
    assert read_manifest(objects) == merged
    assert objects.size("teachers/b/targets/zarr.json")
    assert create_or_resume(objects, make_manifest(teachers={"a": make_teacher()})) == merged


def test_a_folder_with_other_files_is_left_alone(objects: LocalObjects) -> None:
    objects.put_new("thesis.tex", b"years of work")
    with pytest.raises(StoreError, match=r"is not a cache, but holds other files \(thesis.tex"):
        create_or_resume(objects, make_manifest())


def test_a_creation_that_was_killed_before_the_root_is_begun_again(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest(num_samples=(99,)))
    objects.delete("zarr.json")
    create_or_resume(objects, make_manifest())
    assert read_manifest(objects) == make_manifest()
