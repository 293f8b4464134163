"""A copy from a place that need not be trusted, and parts of one."""

import json
from pathlib import Path

import pytest

from kdcache.errors import ConfigError, ManifestMismatchError, MissingViewError, StoreError
from kdcache.share.pull import pull
from kdcache.share.selection import Selection
from kdcache.store import Cache, open_cache
from kdcache.store.manifest import Parent
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import features_entry, fill_block, make_manifest, make_store, make_teacher

TEACHERS = {"a": make_teacher(), "a.features": features_entry(make_teacher(), "a"), "b": make_teacher()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("pull") / "c.zarr", make_manifest(teachers=TEACHERS))


def _part(cache: Path, folder: Path, **selection: str | None) -> Cache:
    chosen = Selection.parse(**{"seeds": None, "teachers": None, "shards": None, **selection})
    pull(cache, folder / "part.zarr", selection=chosen, quiet=True)
    verify(folder / "part.zarr")
    return open_cache(folder / "part.zarr")


def test_a_whole_copy_has_the_same_id_and_root(cache: Path, tmp_path: Path) -> None:
    report = pull(cache, tmp_path / "d.zarr", quiet=True)
    assert open_cache(tmp_path / "d.zarr").content_id() == report.content_id == open_cache(cache).content_id()
    assert (tmp_path / "d.zarr/zarr.json").read_bytes() == (cache / "zarr.json").read_bytes()
    assert (report.parent, report.selection) == (None, {})
    assert verify(tmp_path / "d.zarr").unknown == ()


def test_a_part_has_what_was_selected_and_the_same_paths(cache: Path, tmp_path: Path) -> None:
    part = _part(cache, tmp_path, seeds="3", teachers="a", shards="0")
    assert part.teachers == ("a",)
    assert sorted(record.unit for record in part.records()) == [
        "a/0-1",
        "a/1-1",
        "samples/0",
        "samples/1",
        "views/0-1",
        "views/1-1",
    ]
    whole = open_cache(cache)
    assert (part.targets("a", 1, 2).logits_NK == whole.targets("a", 1, 2).logits_NK)[:2].all()
    with pytest.raises(MissingViewError):
        part.targets("a", 0, 0)
    with pytest.raises(MissingViewError):
        part.samples(2)


def test_a_part_knows_its_parent_and_what_was_selected(cache: Path, tmp_path: Path) -> None:
    about = _part(cache, tmp_path, seeds="0", teachers="b").manifest.about
    assert about.parent == Parent(
        content_id=open_cache(cache).content_id(), selection={"seeds": "0-1", "teachers": "b"}
    )


def test_features_are_a_selection_of_their_own(cache: Path, tmp_path: Path) -> None:
    assert _part(cache, tmp_path, teachers="a,a.features").feature_units == {"a": "a.features"}


def test_a_part_reads_no_other_data(cache: Path, tmp_path: Path) -> None:
    report = pull(
        cache, tmp_path / "p", selection=Selection.parse(seeds="0-1", teachers="a", shards="1"), quiet=True
    )
    assert report.reads == 4 + 2 + 1
    assert report.objects == report.writes


def test_a_part_of_a_part_names_the_part(cache: Path, tmp_path: Path) -> None:
    part = _part(cache, tmp_path, teachers="a,b")
    (tmp_path / "more").mkdir()
    smaller = _part(tmp_path / "part.zarr", tmp_path / "more", shards="1", teachers="b")
    assert smaller.manifest.about.parent == Parent(
        content_id=part.content_id(), selection={"teachers": "b", "shards": "1"}
    )


def test_a_part_that_was_copied_whole_keeps_its_parent(cache: Path, tmp_path: Path) -> None:
    part = _part(cache, tmp_path, teachers="a")
    report = pull(tmp_path / "part.zarr", tmp_path / "d.zarr", quiet=True)
    assert report.content_id == part.content_id()
    assert part.manifest.about.parent is not None
    assert report.parent == part.manifest.about.parent.content_id


def test_the_same_part_twice_is_one_and_another_part_is_refused(cache: Path, tmp_path: Path) -> None:
    _part(cache, tmp_path, teachers="a")
    again = pull(
        cache,
        tmp_path / "part.zarr",
        selection=Selection.parse(seeds=None, teachers="a", shards=None),
        quiet=True,
    )
    assert again.objects == 0
    with pytest.raises(ManifestMismatchError, match="holds another cache"):
        _part(cache, tmp_path, teachers="b")


def test_units_that_are_not_committed_are_left_out(tmp_path: Path) -> None:
    manifest = make_manifest()
    writer = CacheWriter.create_or_resume(tmp_path / "c.zarr", manifest)
    fill_block(writer, writer.layout.blocks[0], groups=[0])
    part = _part(tmp_path / "c.zarr", tmp_path, shards="0")
    assert [record.unit for record in part.records()] == ["cnn/0-0", "samples/0", "views/0-0"]
    with pytest.raises(StoreError, match="nothing of this selection is committed"):
        pull(
            tmp_path / "c.zarr",
            tmp_path / "none",
            selection=Selection.parse(seeds=None, teachers=None, shards="1"),
            quiet=True,
        )


def test_what_is_not_there_is_refused_before_anything_is_written(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no teacher 'c'"):
        _part(cache, tmp_path, teachers="c")
    assert not (tmp_path / "part.zarr").exists()


def test_a_link_in_the_source_is_refused(tmp_path: Path) -> None:
    cache = make_store(tmp_path / "c.zarr")
    path = cache / "samples/key/c/0"
    path.rename(tmp_path / "secret")
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="is a link to"):
        pull(cache, tmp_path / "d.zarr", quiet=True)
    assert not (tmp_path / "d.zarr").exists()


def test_a_part_can_be_used_to_go_on(cache: Path, tmp_path: Path) -> None:
    part = _part(cache, tmp_path, seeds="0-1", teachers="a")
    writer = CacheWriter.create_or_resume(tmp_path / "part.zarr", part.manifest)
    for block in writer.layout.blocks:
        fill_block(writer, block)
    writer.finish()
    assert verify(tmp_path / "part.zarr").units == 15
    document = json.loads((tmp_path / "part.zarr/zarr.json").read_bytes())
    assert document["attributes"]["kdcache"]["about"]["parent"]["selection"] == {
        "seeds": "0-1",
        "teachers": "a",
    }


def test_a_pull_leaves_the_card_where_it_is(tmp_path: Path) -> None:
    source = make_store(tmp_path / "s.zarr")
    (source / "README.md").write_text("a card")
    (source / "croissant.json").write_text("{}")
    pull(source, tmp_path / "p.zarr", quiet=True)
    assert not {"README.md", "croissant.json"} & {file.name for file in (tmp_path / "p.zarr").iterdir()}
    (tmp_path / "q.zarr").mkdir()
    (tmp_path / "q.zarr/croissant.json").write_text("mine")
    pull(source, tmp_path / "q.zarr", quiet=True)
    assert (tmp_path / "q.zarr/croissant.json").read_text() == "mine"
