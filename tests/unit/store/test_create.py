"""A cache is made once; whoever comes again must agree with it."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from kdcache.config.terms import Terms
from kdcache.config.views import ViewPolicy
from kdcache.errors import ManifestMismatchError, StoreError
from kdcache.store.create import agreed_manifest, create_or_resume, set_terms
from kdcache.store.layout import Layout
from kdcache.store.manifest import Manifest
from kdcache.store.objects import LocalObjects
from kdcache.store.root import read_manifest, write_arrays
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


def test_a_cache_grows_by_shards_and_seeds_behind_those_that_are_there(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest(num_samples=(10, 7)))
    grown = create_or_resume(objects, make_manifest(num_samples=(10, 7, 9), num_aug_seeds=8), grow=True)
    assert grown == read_manifest(objects)
    assert [shard.num_samples for shard in grown.identity.shards] == [10, 7, 9]
    assert grown.identity.num_aug_seeds == 8
    root = json.loads(objects.get("views/digest/zarr.json"))
    assert root["shape"] == [8, 5 * 8]


def test_growing_twice_at_once_ends_in_the_larger(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    create_or_resume(objects, make_manifest(num_aug_seeds=12), grow=True)
    assert create_or_resume(objects, make_manifest(num_aug_seeds=8), grow=True).identity.num_aug_seeds == 12


def test_what_a_cache_would_become_is_told_without_writing(objects: LocalObjects) -> None:
    assert agreed_manifest(objects, make_manifest()) == make_manifest()
    assert not objects.root.exists()
    create_or_resume(objects, make_manifest())
    before = {entry.path: objects.get(entry.path) for entry in objects.list("")}
    larger = make_manifest(num_aug_seeds=8)
    assert agreed_manifest(objects, larger, grow=True).identity.num_aug_seeds == 8
    with pytest.raises(ManifestMismatchError, match="num_aug_seeds is 4 there, 8 here"):
        agreed_manifest(objects, larger)
    assert {entry.path: objects.get(entry.path) for entry in objects.list("")} == before


def test_nothing_grows_without_being_asked(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    with pytest.raises(ManifestMismatchError, match=r"num_aug_seeds is 4 there, 8 here.*kdcache extend"):
        create_or_resume(objects, make_manifest(num_aug_seeds=8))


def test_what_is_there_may_not_change_while_growing(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    with pytest.raises(ManifestMismatchError, match=r"shards\[0\].num_samples is 10 there, 11 here"):
        create_or_resume(objects, make_manifest(num_samples=(11, 7), num_aug_seeds=8), grow=True)


def test_metadata_that_a_losing_run_overwrote_is_mended(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    right = objects.get("views/digest/zarr.json")
    write_arrays(objects, Layout.of(make_manifest(rows_per_block=64).identity))
    assert objects.get("views/digest/zarr.json") != right
    create_or_resume(objects, make_manifest())
    assert objects.get("views/digest/zarr.json") == right


def test_runs_that_start_together_agree_on_one_cache(tmp_path: Path) -> None:
    manifests = [make_manifest(teachers={f"t{i}": make_teacher()}) for i in range(8)]
    threads = [
        threading.Thread(target=create_or_resume, args=(LocalObjects(tmp_path / "c"), manifest))
        for manifest in manifests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_manifest(LocalObjects(tmp_path / "c")).identity.teachers) == [
        f"t{i}" for i in range(8)
    ]


def _described(**about: str | None) -> Manifest:
    manifest = make_manifest()
    return manifest.model_copy(update={"about": manifest.about.model_copy(update=about)})


def test_terms_are_set_and_nothing_else_changes(objects: LocalObjects) -> None:
    create_or_resume(objects, make_manifest())
    before = {entry.path: objects.get(entry.path) for entry in objects.list("")}
    assert set_terms(objects, Terms(licence="MIT")) == _described(licence="MIT")
    assert set_terms(objects, Terms(contact="a@b.org")) == _described(licence="MIT", contact="a@b.org")
    changed = {path for path, data in before.items() if objects.get(path) != data}
    assert changed == {"zarr.json"}
    assert read_manifest(objects).identity == make_manifest().identity


def test_terms_that_are_there_already_write_nothing(objects: LocalObjects) -> None:
    create_or_resume(objects, _described(licence="MIT"))
    status = (objects.root / "zarr.json").stat()
    set_terms(objects, Terms(licence="MIT"))
    assert (objects.root / "zarr.json").stat() == status


def test_terms_of_no_cache_cannot_be_set(objects: LocalObjects) -> None:
    with pytest.raises(StoreError, match="there is no cache"):
        set_terms(objects, Terms(licence="MIT"))
    assert not objects.root.exists()


def test_terms_are_set_beside_a_run_that_adds_a_teacher(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_or_resume(objects, make_manifest())
    swap = LocalObjects.swap

    def other_first(self: LocalObjects, path: str, old: bytes | None, new: bytes) -> bool:
        monkeypatch.setattr(LocalObjects, "swap", swap)
        create_or_resume(objects, make_manifest(teachers={"b": make_teacher()}))
        return swap(self, path, old, new)

    monkeypatch.setattr(LocalObjects, "swap", other_first)
    manifest = set_terms(objects, Terms(licence="MIT"))
    assert (list(manifest.identity.teachers), manifest.about.licence) == (["cnn", "b"], "MIT")


def test_only_growth_takes_over_terms(objects: LocalObjects) -> None:
    create_or_resume(objects, _described(licence="MIT"))
    wanted = _described(licence="CC0-1.0", contact="a@b.org")
    assert create_or_resume(objects, wanted).about.licence == "MIT"
    about = create_or_resume(objects, wanted, grow=True).about
    assert (about.licence, about.contact) == ("CC0-1.0", "a@b.org")
    assert create_or_resume(objects, make_manifest(), grow=True).about == about
