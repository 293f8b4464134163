"""Smaller caches of small caches."""

import shutil
from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.recast import merge, prune
from kdcache.store import open_cache
from kdcache.store.layout import record_path
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, fill_block, make_manifest, make_store, make_teacher

CNN = make_teacher(top_k=8)
TEACHERS = {
    "cnn": CNN,
    "cnn.features": features_entry(CNN, "cnn"),
    "vit": make_teacher(weights="vit", encoding="hard"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(
        tmp_path_factory.mktemp("prune") / "c", make_manifest(num_aug_seeds=6, teachers=TEACHERS)
    )


def test_fewer_seeds_and_teachers_are_the_cache_that_never_had_more(tmp_path: Path, cache: Path) -> None:
    report = prune(cache, tmp_path / "p", seeds="0-2", teachers=["cnn"], quiet=True)
    wanted = make_store(tmp_path / "w", make_manifest(num_aug_seeds=4, teachers={"cnn": CNN}))
    assert report.content_id == open_cache(wanted).content_id() == verify(tmp_path / "p").content_id


def test_the_parent_and_the_selection_are_remembered(tmp_path: Path, cache: Path) -> None:
    prune(cache, tmp_path / "p", seeds="2-3", teachers=["vit"], quiet=True)
    about = open_cache(tmp_path / "p").manifest.about
    assert about.parent is not None
    assert about.parent.content_id == open_cache(cache).content_id()
    assert about.parent.selection == {"seeds": "2-3", "teachers": ["vit"]}
    assert set(about.teachers) == {"vit"}


def test_seeds_keep_their_numbers(tmp_path: Path, cache: Path) -> None:
    report = prune(cache, tmp_path / "p", seeds="4", teachers=["vit"], quiet=True)
    pruned = open_cache(tmp_path / "p")
    assert pruned.identity.num_aug_seeds == 6
    assert pruned.committed_groups("vit", 0) == (2,)
    assert (sum(report.units.values()), report.total_units) == (9, 21)
    assert "12 units are not in it" in report.summary()


def test_parts_of_a_cache_merge_into_it_again(tmp_path: Path, cache: Path) -> None:
    parts = [
        prune(cache, tmp_path / name, seeds=seeds, teachers=teachers, quiet=True).out
        for name, seeds, teachers in (
            ("1", "0-1", None),
            ("2", "2-5", ["vit"]),
            ("3", "2-5", ["cnn", "cnn.features"]),
        )
    ]
    assert merge(parts, tmp_path / "m", quiet=True).content_id == open_cache(cache).content_id()


def test_a_smaller_k_changes_its_teacher_alone(tmp_path: Path, cache: Path) -> None:
    dry = prune(cache, tmp_path / "p", top_k=3, dry_run=True, quiet=True)
    assert (dry.content_id, (tmp_path / "p").exists()) == (None, False)
    assert "not known before the values are encoded" in dry.summary()
    report = prune(cache, tmp_path / "p", top_k=3, quiet=True)
    assert verify(tmp_path / "p").content_id == report.content_id
    assert "of cnn classes, gaps and top-1 are what --top-k 3 gives" in report.notes[0]
    before, after = open_cache(cache), open_cache(tmp_path / "p")
    assert {name: entry.top_k for name, entry in after.identity.teachers.items()} == {
        "cnn": 3,
        "cnn.features": 6,
        "vit": 1,
    }
    old, new = before.targets("cnn", 0, 1), after.targets("cnn", 0, 1)
    assert old.class_ids_NK is not None
    assert new.class_ids_NK is not None
    assert (old.class_ids_NK[:, :3] == new.class_ids_NK).all()
    rows = old.valid_N
    gained_N = old.kept_probs_NK(2.0)[rows, 3:].sum(axis=1) + old.tail_mass_N(2.0)[rows]
    assert abs(gained_N - new.tail_mass_N(2.0)[rows]).max() < 5e-3
    for name in ("samples/0", "views/2-2", "vit/1-1", "cnn.features/1-0"):
        assert (cache / record_path(name)).read_bytes() == (tmp_path / "p" / record_path(name)).read_bytes()


def test_a_pruned_cache_goes_on_where_it_stopped(tmp_path: Path, cache: Path) -> None:
    first = prune(cache, tmp_path / "p", top_k=3, quiet=True)
    (tmp_path / "p" / record_path("cnn/0-1")).unlink()
    again = prune(cache, tmp_path / "p", top_k=3, quiet=True)
    assert (again.content_id, again.units_before) == (first.content_id, sum(first.units.values()) - 1)


def test_damaged_targets_are_not_encoded_anew(tmp_path: Path, cache: Path) -> None:
    shutil.copytree(cache, tmp_path / "c")
    path = tmp_path / "c" / "teachers/cnn/targets/c/0/0/1"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CorruptChunkError, match="targets/c/0/0/1"):
        prune(tmp_path / "c", tmp_path / "p", top_k=3, quiet=True)


def test_seeds_of_which_nothing_is_committed_are_refused(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", make_manifest())
    fill_block(writer, writer.layout.blocks[0], groups=[0])
    with pytest.raises(StoreError, match="has committed nothing of the seeds 2-3"):
        prune(tmp_path / "c", tmp_path / "p", seeds="2-3", quiet=True)
