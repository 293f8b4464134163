"""Part of a cache: what is in it, and what is no part of any."""

import pytest

from kdcache.errors import ConfigError
from kdcache.share.selection import Part, Selection
from kdcache.store.layout import Unit
from kdcache.store.manifest import Parent
from tests.support.stores import features_entry, make_manifest, make_teacher

MANIFEST = make_manifest(
    num_samples=(10, 7, 8),
    num_aug_seeds=12,
    seeds_per_group=4,
    teachers={"a": make_teacher(), "a.features": features_entry(make_teacher(), "a"), "b": make_teacher()},
)


def _part(seeds: str | None = None, teachers: str | None = None, shards: str | None = None) -> Part:
    return Part.of(MANIFEST, Selection.parse(seeds=seeds, teachers=teachers, shards=shards))


def test_no_selection_is_the_whole() -> None:
    assert _part().is_whole
    assert _part("0-11", "b,a,a.features", "0-2").is_whole
    assert _part("2,6,11").is_whole


def test_seeds_are_widened_to_whole_groups_and_it_says_so() -> None:
    part = _part("5-6")
    assert part.facts == {"seeds": "4-7"}
    assert part.notes == ("seeds 5-6 are widened to 4-7: they come in groups of 4",)
    assert part.groups == {1}


def test_whole_groups_are_taken_without_a_word() -> None:
    part = _part("8-11, 0-3")
    assert part.facts == {"seeds": "0-3,8-11"}
    assert part.notes == ()


def test_a_part_holds_the_units_of_its_shards_groups_and_teachers() -> None:
    part = _part("0-3", "b", "1")
    assert part.holds(Unit.samples(2))
    assert part.holds(Unit("views", 2, 0))
    assert part.holds(Unit("b", 2, 0))
    assert not part.holds(Unit.samples(0))
    assert not part.holds(Unit("b", 2, 1))
    assert not part.holds(Unit("a", 2, 0))


def test_features_come_when_they_are_named() -> None:
    assert set(_part(teachers="a").manifest.identity.teachers) == {"a"}
    assert list(_part(teachers="a.features,a").manifest.identity.teachers) == ["a", "a.features"]


def test_a_part_keeps_shapes_and_knows_its_parent() -> None:
    whole, manifest = MANIFEST.identity, _part("0-3", "b", "0,2").manifest_from("sha256:77")
    identity = manifest.identity
    assert identity.model_copy(update={"teachers": whole.teachers}) == whole
    selection = {"seeds": "0-3", "teachers": "b", "shards": "0,2"}
    assert manifest.about.parent == Parent(content_id="sha256:77", selection=selection)
    assert set(manifest.about.teachers) == {"b"}


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "0-2-4", "1;2", "٣-٤x"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no range"):
        Selection.parse(seeds=text, teachers=None, shards=None)


def test_seeds_and_shards_beyond_the_last_are_refused_before_they_are_counted() -> None:
    with pytest.raises(ConfigError, match="seed 999999999999 is not in the cache, which has 12 seeds"):
        _part(seeds="0-999999999999")
    with pytest.raises(ConfigError, match="shard 3 is not in the cache, which has 3 shards"):
        _part(shards="1-3")


def test_a_teacher_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no teacher 'c'; it has a, a.features, b"):
        _part(teachers="a,c")
