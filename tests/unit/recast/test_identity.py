"""What caches are together: the shards' order, and the fields that must not differ."""

from pathlib import Path
from typing import Any

import pytest

from kdcache.config.views import ViewPolicy
from kdcache.errors import ManifestMismatchError
from kdcache.recast.identity import demand_no_conflict, merged_manifest, notes_on_terms, shard_order
from kdcache.recast.source import Source
from kdcache.store.manifest import About, Identity, Manifest
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, make_manifest, make_teacher


def _source(path: Path, manifest: Manifest) -> Source:
    CacheWriter.create_or_resume(path, manifest)
    return Source.open(path)


def _merged(tmp_path: Path, *manifests: Manifest) -> Manifest:
    sources = [_source(tmp_path / f"{number}", one) for number, one in enumerate(manifests)]
    return merged_manifest(sources, created="2026-01-01T00:00:00Z")


def _with_shards(*numbers: int) -> Manifest:
    manifest = make_manifest(num_samples=[3] * 6)
    shards = [manifest.identity.shards[number].model_dump() for number in numbers]
    identity = Identity.parse(manifest.identity.model_dump() | {"shards": shards}, where="test")
    return Manifest(identity=identity, about=manifest.about)


def test_shards_stand_where_one_run_would_have_put_them(tmp_path: Path) -> None:
    merged = _merged(tmp_path, _with_shards(1, 4), _with_shards(0, 2, 5))
    assert [entry.name[6:9] for entry in merged.identity.shards] == ["000", "001", "002", "004", "005"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([["a-9.tar", "a-10.tar"], ["a-1.tar"]], ["a-1.tar", "a-9.tar", "a-10.tar"]),
        ([["z.tar"], ["a.tar"]], ["z.tar", "a.tar"]),
        (
            [["t-0.tar", "t-2.tar"], ["new-0.tar"], ["t-1.tar"]],
            ["t-0.tar", "t-1.tar", "t-2.tar", "new-0.tar"],
        ),
        ([["a-2.tar", "a-1.tar"], ["a-0.tar"]], ["a-2.tar", "a-1.tar", "a-0.tar"]),
    ],
)
def test_numbers_order_shards_unless_an_input_says_otherwise(
    names: list[list[str]], wanted: list[str]
) -> None:
    assert shard_order(names) == wanted


def test_seeds_and_teachers_add_up(tmp_path: Path) -> None:
    other = make_manifest(num_aug_seeds=8, teachers={"vit": make_teacher(weights="other")})
    merged = _merged(tmp_path, make_manifest(), other)
    assert merged.identity.num_aug_seeds == 8
    assert set(merged.identity.teachers) == {"cnn", "vit"}
    assert set(merged.about.teachers) == {"cnn", "vit"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows_per_block": 16}, "rows_per_block is 8 in .*0, 16 in .*1 .an object holds whole blocks"),
        ({"seeds_per_group": 4}, "seeds_per_group is 2 in .*, 4 in .* .an object holds whole groups"),
        ({"policy": ViewPolicy.named("rrc", size=24)}, r"policy.size\[0\] is 32 in"),
        ({"teachers": {"cnn": make_teacher(weights="other")}}, "teacher 'cnn' has weights_sha256 "),
        ({"teachers": {"cnn": make_teacher(top_k=4)}}, "teacher 'cnn' has top_k 5 in .*, 4 in "),
        ({"teachers": {"cnn": make_teacher(encoding="hard")}}, "teacher 'cnn' has encoding 'gap8' in "),
        ({"num_classes": 21}, "num_classes is 20 in "),
        ({"num_samples": (10, 8)}, "shard 'train-001.tar' has num_samples 7 in .*, 8 in "),
    ],
)
def test_a_field_that_must_not_differ_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestMismatchError, match=message):
        _merged(tmp_path, make_manifest(), make_manifest(**changes))


def test_two_embeddings_of_one_teacher_are_refused(tmp_path: Path) -> None:
    cnn = make_teacher()
    first = make_manifest(teachers={"cnn": cnn, "cnn.features": features_entry(cnn, "cnn")})
    second = make_manifest(teachers={"cnn": cnn, "cnn.pooled": features_entry(cnn, "cnn")})
    with pytest.raises(ManifestMismatchError, match="two embeddings"):
        _merged(tmp_path, first, second)


def test_a_cache_with_two_shards_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestMismatchError, match=r"has two shards of the name 'train-001.tar'"):
        _merged(tmp_path, _with_shards(0), _with_shards(1, 1))


def _described(*abouts: About) -> list[Manifest]:
    return [Manifest(identity=make_manifest().identity, about=about) for about in abouts]


def test_the_origins_are_kept(tmp_path: Path) -> None:
    about = _merged(tmp_path, *_described(*(About(sources=[source]) for source in "aba"))).about
    assert about.sources == ["a", "b"]
    assert about.model_dump()["merged_from"] == [Source.open(tmp_path / "0").content_id()]


def test_a_licence_that_all_have_stays_and_others_are_named(tmp_path: Path) -> None:
    abouts = [About(licence="MIT", contact=contact) for contact in ("a@b.org", "a@b.org", None)]
    about = _merged(tmp_path, *_described(*abouts)).about
    assert (about.licence, about.contact) == ("MIT", None)
    (note,) = notes_on_terms([Source.open(tmp_path / name) for name in "012"])
    assert f"the caches differ in contact ('a@b.org' in {tmp_path / '0'}" in note
    assert f"None in {tmp_path / '2'}" in note
    assert notes_on_terms([Source.open(tmp_path / "2")]) == []


def test_many_conflicts_are_counted() -> None:
    with pytest.raises(ManifestMismatchError, match=r"c0; .*; c7; and 2 more; nothing was written"):
        demand_no_conflict([f"c{number}" for number in range(10)])
