"""Which part of a cache is asked for."""

from typing import Any

import pytest

from kdcache.errors import ConfigError
from kdcache.recast.selection import Selection
from kdcache.store.manifest import Identity
from tests.support.stores import features_entry, make_manifest, make_teacher


def _identity() -> Identity:
    cnn = make_teacher(top_k=8)
    teachers = {"cnn": cnn, "cnn.features": features_entry(cnn, "cnn", 30), "vit": make_teacher(top_k=3)}
    return make_manifest(num_aug_seeds=10, teachers=teachers).identity


def _selection(**changes: Any) -> Selection:
    return Selection.of(_identity(), **{"seeds": None, "teachers": None, "top_k": None, **changes})


@pytest.mark.parametrize(
    ("text", "groups", "kept"),
    [
        ("0-3", (0, 1), "0-3"),
        ("3", (1,), "2-3"),
        ("9, 1 - 2", (0, 1, 4), "0-3,8-9"),
        ("0-9", (0, 1, 2, 3, 4), "0-9"),
    ],
)
def test_seeds_are_widened_to_whole_groups(text: str, groups: tuple[int, ...], kept: str) -> None:
    selection = _selection(seeds=text)
    assert (selection.groups, selection.seeds(2)) == (groups, kept)


def test_what_is_left_open_is_kept() -> None:
    selection = _selection(seeds="0-1")
    assert selection.teachers == ("cnn", "cnn.features", "vit")
    assert selection.to_json(_identity()) == {"seeds": "0-1"}
    selection = _selection(teachers=["vit", "cnn"], top_k=4)
    assert selection.groups == (0, 1, 2, 3, 4)
    assert selection.to_json(_identity()) == {"teachers": ["cnn", "vit"], "top_k": 4}


def test_only_teachers_that_keep_more_are_lowered() -> None:
    selection, teachers = _selection(top_k=4), _identity().teachers
    assert [name for name in teachers if selection.is_lowered(teachers[name])] == ["cnn"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "say what to keep"),
        ({"seeds": "a"}, "expected ranges of numbers"),
        ({"seeds": "3-1"}, "expected ranges of numbers"),
        ({"seeds": "0-10"}, "--seeds names 10, but the cache has the seeds 0-9"),
        ({"teachers": ["cnn", "rnn"]}, "--teachers names 'rnn', but the cache has cnn, cnn.features, vit"),
        ({"teachers": ["cnn.features"]}, "without its teacher 'cnn'"),
        ({"top_k": 8}, "no teacher that is kept keeps more classes: cnn 8, "),
    ],
)
def test_what_cannot_be_had_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _selection(**changes)


def test_no_smaller_k_is_made_of_rounded_dense_targets() -> None:
    identity = make_manifest(teachers={"cnn": make_teacher(encoding="dense8")}).identity
    with pytest.raises(
        ConfigError, match="'cnn' is stored as dense8, of which --top-k 4 cannot be made: it rounds"
    ):
        Selection.of(identity, seeds=None, teachers=None, top_k=4)
