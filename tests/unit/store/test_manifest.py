"""The manifest refuses what no cache can be."""

from typing import Any

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import ConfigError
from kdcache.store.manifest import About, Identity, Manifest, TeacherIdentity, differences, num_planes
from tests.support.stores import features_entry, make_manifest, make_teacher


def parse_teacher(**changes: Any) -> TeacherIdentity:
    return TeacherIdentity.parse(make_teacher().model_dump() | changes, where="teacher")


def parse_identity(**changes: Any) -> Identity:
    return Identity.parse(make_manifest().identity.model_dump(mode="json") | changes, where="identity")


def test_a_manifest_survives_json() -> None:
    manifest = make_manifest()
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 21}, "top_k is 21, but the teacher has 20 classes only"),
        ({"top_k": 20}, "all 20 classes: that is what dense8 is for"),
        ({"encoding": "dense8"}, "dense8 keeps all 20 classes, top_k asks for 5"),
        ({"encoding": "float32"}, "float32 keeps all 20 classes, top_k asks for 5"),
        ({"encoding": "hard"}, "hard keeps one class, top_k asks for 5"),
        ({"encoding": "pickle"}, "encoding"),
        ({"weights_sha256": "abc"}, "weights_sha256"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_teacher(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_digest": "0" * 64}, "policy_digest is 000000000000, but the policy beside it has"),
        ({"num_aug_seeds": 5}, "5 views are not a multiple of the 2 of a group"),
        ({"rows_per_block": 5000}, "rows_per_block"),
        ({"shards": []}, "shards"),
        ({"format_version": 2}, "format_version"),
        ({"num_aug_seeds": 1 << 20, "seeds_per_group": 1}, r"6,291,459 units \(limit 4,194,304\)"),
        ({"seeds_per_group": 1 << 16, "num_aug_seeds": 1 << 16}, "seeds_per_group"),
    ],
)
def test_an_identity_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_identity(**changes)


@pytest.mark.parametrize("name", ["samples", "views", "commits", "Upper", "../up", "", ".hidden", "a/b"])
def test_a_name_that_cannot_be_a_folder_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a teacher"):
        parse_identity(teachers={name: make_teacher().model_dump()})


def test_a_chunk_that_no_memory_holds_is_refused() -> None:
    wide = make_teacher(encoding="float32", num_classes=100_000).model_dump()
    with pytest.raises(ConfigError, match=r"one chunk of teacher 'wide' would take [\d,]+ bytes"):
        parse_identity(teachers={"wide": wide}, rows_per_block=4096)


def test_a_unit_that_no_memory_holds_is_refused() -> None:
    wide = make_teacher(encoding="float32", num_classes=10_000).model_dump()
    changes = {"rows_per_block": 1024, "num_aug_seeds": 1024, "seeds_per_group": 1024}
    with pytest.raises(
        ConfigError, match=r"one unit of teacher 'wide' would take [\d,]+ bytes .*fewer seeds"
    ):
        parse_identity(teachers={"wide": wide}, **changes)


@pytest.mark.parametrize(
    "name", ["pipe:id", "../a.tar", "/a.tar", "a/b.tar", "..", "a\\b", "a\x1b.tar", "a\n"]
)
def test_a_shard_is_named_by_a_file_name(name: str) -> None:
    shard = make_manifest().identity.shards[0].model_dump() | {"name": name}
    with pytest.raises(ConfigError, match="is not the name of a file"):
        parse_identity(shards=[shard])


def test_blocks_are_counted_before_they_are_made() -> None:
    shard = make_manifest().identity.shards[0].model_dump() | {"num_samples": 1 << 32}
    with pytest.raises(ConfigError, match=r"536,870,912 blocks \(limit 1,048,576\)"):
        parse_identity(shards=[shard])


def test_one_bad_shard_of_many_is_one_problem() -> None:
    with pytest.raises(ConfigError, match=r"^identity: shards\.0: .*; shards: .* not 0 \(got \[0, 0, "):
        parse_identity(shards=[0] * 1_000_000)


def test_a_mixing_policy_needs_whole_windows() -> None:
    policy = ViewPolicy.named("rrc", size=32, mixing={"prob": 1.0})
    with pytest.raises(ConfigError, match="8 rows per block are not a multiple of 64"):
        parse_identity(policy=policy.model_dump(mode="json"), policy_digest=policy.digest())


def test_the_name_of_a_preset_is_no_part_of_what_is_compared() -> None:
    policy = ViewPolicy.named("rrc", size=32)
    renamed = policy.model_copy(update={"preset": "custom"})
    ours, theirs = (make_manifest(policy=p).identity.canonical() for p in (policy, renamed))
    assert ours == theirs


def test_a_square_size_is_the_same_given_as_one_number_or_as_two() -> None:
    policies = [ViewPolicy.named("rrc", size=size) for size in (32, (32, 32))]
    ours, theirs = (make_manifest(policy=policy).identity.canonical() for policy in policies)
    assert ours == theirs


def test_fields_without_a_value_are_no_part_of_what_is_compared() -> None:
    assert "class_names_sha256" not in make_manifest().identity.canonical()


def test_about_keeps_facts_of_later_releases() -> None:
    assert About.parse({"mood": "good"}, where="about").model_dump()["mood"] == "good"


@pytest.mark.parametrize(
    ("encoding", "top_k", "num_classes", "planes"),
    [("gap8", 5, 20, 15), ("dense8", 20, 20, 28), ("float32", 20, 20, 46), ("hard", 1, 20, 7)],
)
def test_num_planes_counts_the_head_too(encoding: Any, top_k: int, num_classes: int, planes: int) -> None:
    assert num_planes(encoding, top_k, num_classes) == planes


@pytest.mark.parametrize(
    ("encoding", "num_classes", "dtype"),
    [
        ("gap8", 65_534, "uint16"),
        ("gap8", 65_535, "uint32"),
        ("hard", 65_535, "uint32"),
        ("dense8", 65_535, "uint16"),
    ],
)
def test_ids_above_65533_take_32_bits(encoding: Any, num_classes: int, dtype: str) -> None:
    assert make_teacher(encoding=encoding, num_classes=num_classes).dtype == dtype


def test_differences_name_the_path_of_each_field() -> None:
    ours = {"a": {"b": 1, "c": [1, 2]}, "d": [1]}
    theirs = {"a": {"b": 2, "c": [1, 3], "e": 0}, "d": [1, 2]}
    assert differences(ours, theirs) == [
        ("a.b", 1, 2),
        ("a.c[1]", 2, 3),
        ("a.e", None, 0),
        ("d", [1], [1, 2]),
    ]


def test_a_teacher_has_one_embedding() -> None:
    entry = features_entry(make_teacher(), "cnn").model_dump()
    with pytest.raises(ConfigError, match="'cnn' has two embeddings"):
        parse_identity(teachers={"cnn.features": entry, "again": entry})
