"""Caches side by side."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdcache.config.views import ViewPolicy
from kdcache.recast import diff, merge, prune
from kdcache.store.manifest import Manifest
from kdcache.store.writer import CacheWriter
from tests.support import stores
from tests.support.real_cache import make_real_cache
from tests.support.shards import write_shards
from tests.support.stores import (
    features_entry,
    fill_block,
    logits_of,
    make_manifest,
    make_store,
    make_teacher,
    table_of,
)


def test_equal_caches_are_equal_wherever_they_are(tmp_path: Path) -> None:
    found = diff(make_store(tmp_path / "a"), make_store(tmp_path / "b"), quiet=True)
    assert found.is_equal
    assert found.identity == ()
    assert {kind: (one.both, one.equal_bytes) for kind, one in found.kinds.items()} == {
        "samples": (3, 3),
        "views": (6, 6),
        "cnn": (6, 6),
    }
    assert (found.values["cnn"].mean_kl, found.values["cnn"].top1_agreement) == (0.0, 1.0)
    assert found.values["cnn"].views == found.values["cnn"].equal == 56
    assert "equal: one content id" in found.text()


def test_units_that_one_alone_has_are_named(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "a")
    writer = CacheWriter.create_or_resume(tmp_path / "b", make_manifest())
    fill_block(writer, writer.layout.blocks[1], groups=[0])
    found = diff(whole, tmp_path / "b", quiet=True)
    assert not found.is_equal
    assert found.kinds["cnn"].only_first == ("cnn/0-0", "cnn/0-1", "cnn/1-1", "cnn/2-0", "cnn/2-1")
    assert diff(tmp_path / "b", whole, quiet=True).kinds["samples"].only_second == ("samples/0", "samples/2")
    assert "2 units in A only: samples/0, samples/2" in found.text()


def test_a_teacher_is_compared_by_kl_and_top1(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a", make_manifest(teachers={"cnn": make_teacher(encoding="float32")}))
    changed = make_manifest(teachers={"cnn": make_teacher(encoding="float32", weights="other")})
    second = _with_logits_of(tmp_path / "b", changed)
    found = diff(first, second, quiet=True)
    (field, _, _) = found.identity[0]
    assert field == "teachers.cnn.weights_sha256"
    kl, agreed, views = 0.0, 0, 0
    for block in CacheWriter.create_or_resume(second, changed).layout.blocks:
        table = table_of(block)
        for row in np.flatnonzero(table.ok_N):
            for seed in range(4):
                ours, theirs = (logits_of(name, table.keys[row], seed, 20) for name in ("cnn", "other"))
                p_C, q_C = (
                    np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum() for x in (ours, theirs)
                )
                kl += float((p_C * np.log(p_C / q_C)).sum())
                agreed += int(ours.argmax() == theirs.argmax())
                views += 1
    values = found.values["cnn"]
    assert (values.views, values.equal) == (views, 0)
    assert values.mean_kl == pytest.approx(kl / views, rel=1e-6)
    assert values.top1_agreement == agreed / views
    assert found.kinds["cnn"].different["cnn/0-0"].endswith("views have other values")


def _with_logits_of(path: Path, manifest: Manifest) -> Path:
    """Write a store whose teacher ``cnn`` says what ``other`` would."""
    original = stores.logits_of
    stores.logits_of = lambda teacher, *rest: original("other", *rest)
    try:
        return make_store(path, manifest)
    finally:
        stores.logits_of = original


def test_another_k_of_one_teacher_says_nearly_the_same(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "a", make_manifest(teachers={"cnn": make_teacher(top_k=12)}))
    prune(cache, tmp_path / "b", top_k=4, quiet=True)
    values = diff(cache, tmp_path / "b", quiet=True).values["cnn"]
    assert (values.views, values.equal, values.top1_agreement) == (56, 0, 1.0)
    assert values.worst_kl is not None
    assert values.worst_kl < 1e-4


def test_embeddings_are_compared_by_their_largest_difference(tmp_path: Path) -> None:
    cnn = make_teacher()
    teachers = {"cnn": cnn, "cnn.features": features_entry(cnn, "cnn")}
    first = make_store(tmp_path / "a", make_manifest(teachers=teachers))
    same = diff(first, make_store(tmp_path / "b", make_manifest(teachers=teachers)), quiet=True)
    assert (same.values["cnn.features"].largest, same.values["cnn.features"].mean_kl) == (0.0, None)
    other = _with_logits_of(tmp_path / "c", make_manifest(teachers=teachers))
    found = diff(first, other, quiet=True).values["cnn.features"]
    assert found.largest is not None
    assert found.largest > 1.0
    assert "features differ by" in found.summary()


def test_shards_are_matched_by_name_wherever_they_stand(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "s", [3, 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(tmp_path / "home"))
        one, other = (
            make_real_cache(tmp_path / f"{n}", [path], rows_per_block=4) for n, path in enumerate(paths)
        )
    both = merge([one, other], tmp_path / "m", quiet=True).out
    found = diff(both, other, quiet=True)
    assert [field for field, _, _ in found.identity] == ["shards.train-000.tar", "shard_order"]
    assert found.kinds["formula"].both == found.kinds["formula"].equal_bytes == 1
    assert found.kinds["formula"].only_first == ("formula/0-0",)


def test_what_has_no_like_is_not_compared(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a")
    for name, changes, message in (
        ("r", {"rows_per_block": 16}, "blocks have other sizes"),
        ("g", {"seeds_per_group": 4}, "groups have other sizes"),
        ("p", {"policy": ViewPolicy.named("center", size=32)}, "the policies differ"),
    ):
        found = diff(first, make_store(tmp_path / name, make_manifest(**changes)), quiet=True)
        assert message in found.not_compared
        assert found.kinds == {}
        assert message in found.text()


def test_other_classes_are_not_compared(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a")
    second = make_store(tmp_path / "b", make_manifest(num_classes=21))
    found = diff(first, second, quiet=True)
    assert found.values["cnn"].views == 0
    assert "not compared" in found.kinds["cnn"].different["cnn/0-0"]


def test_the_difference_is_json(tmp_path: Path) -> None:
    found = diff(
        make_store(tmp_path / "a"), make_store(tmp_path / "b", make_manifest(num_aug_seeds=6)), quiet=True
    )
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert facts["equal"] is False
    assert facts["identity"] == [["num_aug_seeds", 4, 6]]
    assert facts["kinds"]["views"]["only_second"] == ["views/0-2", "views/1-2", "views/2-2"]
