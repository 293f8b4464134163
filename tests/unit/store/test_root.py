"""The root document: sealed, versioned, and refused when anybody changed it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr

from kdcache.digest import json_sha256
from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.layout import Layout
from kdcache.store.objects import LocalObjects
from kdcache.store.root import dump_root, expected_root, read_manifest
from tests.support.stores import make_manifest, make_store

Change = Callable[[dict[str, Any]], Any]


def write_root(path: Path, change: Change, *, sealed: bool) -> LocalObjects:
    document = json.loads(dump_root(make_manifest()))
    manifest = document["attributes"]["kdcache"]
    change(manifest)
    if sealed:
        manifest |= {f"{part}_sha256": json_sha256(manifest[part]) for part in ("identity", "about")}
    (path / "zarr.json").write_text(json.dumps(document))
    return LocalObjects(path)


def test_the_manifest_that_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_bytes(dump_root(make_manifest()))
    assert read_manifest(LocalObjects(tmp_path)) == make_manifest()


def test_the_root_can_be_derived_from_the_manifest_in_it(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_bytes(dump_root(make_manifest()))
    layout = Layout.of(make_manifest().identity)
    assert expected_root(LocalObjects(tmp_path), layout) == dump_root(make_manifest())


def test_no_cache_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no cache at .*none.*kdcache precompute"):
        read_manifest(LocalObjects(tmp_path / "none"))


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"attributes": {}}', '{"attributes": {"kdcache": {"identity": 1}}}']
)
def test_another_zarr_group_is_not_a_cache(tmp_path: Path, text: str) -> None:
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(StoreError, match="is not a cache of kdcache"):
        read_manifest(LocalObjects(tmp_path))


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    objects = write_root(tmp_path, lambda m: m["identity"].update(format_version=2), sealed=True)
    with pytest.raises(StoreError, match=r"has format 2, this kdcache reads format 1; upgrade kdcache"):
        read_manifest(objects)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("identity", lambda m: m["identity"].update(num_classes=7)),
        ("about", lambda m: m["about"].update(licence="CC0")),
        ("about", lambda m: m.pop("about_sha256")),
        ("about", lambda m: m.pop("about")),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path: Path, part: str, change: Change) -> None:
    objects = write_root(tmp_path, change, sealed=False)
    with pytest.raises(CorruptChunkError, match=f"the {part} in zarr.json .* does not have the sha256"):
        read_manifest(objects)


@pytest.mark.parametrize("version", [0, -1, "1", True, 1.0, None, [1]])
def test_a_format_that_never_was_is_refused(tmp_path: Path, version: object) -> None:
    objects = write_root(tmp_path, lambda m: m["identity"].update(format_version=version), sealed=True)
    with pytest.raises(StoreError, match="there is no such format"):
        read_manifest(objects)


def test_a_field_beside_the_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has a field 'hook' that format 1 does not know"):
        read_manifest(write_root(tmp_path, lambda m: m.update(hook="id"), sealed=True))


@pytest.mark.parametrize("text", ["\x1b[2J", "gpj.\u202eexe"])
def test_a_text_that_steers_a_terminal_is_refused(tmp_path: Path, text: str) -> None:
    objects = write_root(tmp_path, lambda m: m["about"].update(contact={"a": [text]}), sealed=True)
    with pytest.raises(StoreError, match="holds control characters") as caught:
        read_manifest(objects)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(zarr_format=2),
        lambda document: document.update(node_type="array"),
        lambda document: document["attributes"].update(hook=1),
        lambda document: document["consolidated_metadata"]["metadata"].pop("samples/key"),
        lambda document: document["consolidated_metadata"]["metadata"]["samples/key"].update(codecs=[]),
    ],
)
def test_a_root_that_says_other_things_of_its_arrays_is_refused(tmp_path: Path, change: Change) -> None:
    document = json.loads(dump_root(make_manifest()))
    change(document)
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="says other things of its arrays"):
        read_manifest(LocalObjects(tmp_path))


def test_a_zarr_2_store_is_told_from_nothing(tmp_path: Path) -> None:
    (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(StoreError, match=r"there is no cache at .*the metadata of Zarr 2"):
        read_manifest(LocalObjects(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["identity"].update(rows_per_block=10**9),
        lambda m: m["identity"].update(num_aug_seeds=10**18),
        lambda m: m["identity"].update(rows_per_block="8; rm -rf"),
        lambda m: m["identity"]["teachers"].update({"../../etc": m["identity"]["teachers"]["cnn"]}),
        lambda m: m["identity"]["teachers"]["cnn"].update(encoding="pickle"),
        lambda m: m["identity"]["teachers"]["cnn"].update(num_classes=2**40),
        lambda m: m["identity"].update(policy={"size": -1}),
        lambda m: m.update(about=[]),
    ],
)
def test_a_hostile_manifest_is_refused_even_when_sealed(tmp_path: Path, change: Change) -> None:
    objects = write_root(tmp_path, change, sealed=True)
    with pytest.raises(StoreError, match="the manifest cannot be used"):
        read_manifest(objects)


def test_plain_zarr_opens_the_group_and_sees_every_array(tmp_path: Path) -> None:
    group = zarr.open_group(make_store(tmp_path / "c"), mode="r")
    assert sorted(path for path, _ in group.members(max_depth=None)) == [
        *("samples", "samples/digest", "samples/key", "samples/label", "samples/status"),
        *("teachers", "teachers/cnn", "teachers/cnn/targets"),
        *("views", "views/digest", "views/thumbnail"),
    ]
