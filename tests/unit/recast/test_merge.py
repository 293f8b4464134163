"""Small caches become one, or the conflict is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from google_crc32c import value
from numcodecs import blosc  # type: ignore[attr-defined]

from kdcache.digest import sha256_hex
from kdcache.errors import ConfigError, CorruptChunkError, ManifestMismatchError
from kdcache.recast import merge
from kdcache.store import open_cache
from kdcache.store.commits import dump_record
from kdcache.store.layout import Unit, record_path
from kdcache.store.manifest import Identity, Manifest
from kdcache.store.objects import LocalObjects
from kdcache.store.pack import encode_object
from kdcache.store.records import read_record
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import (
    fill_block,
    make_manifest,
    make_store,
    make_teacher,
    table_of,
    view_digests_of,
)

BOTH = {"cnn": make_teacher(), "vit": make_teacher(weights="vit", encoding="dense8")}


def _part(path: Path, manifest: Manifest, groups: list[int], *, blocks: range = range(3)) -> Path:
    writer = CacheWriter.create_or_resume(path, manifest)
    for block in blocks:
        fill_block(writer, writer.layout.blocks[block], groups=groups)
    return path


def test_groups_of_one_manifest_become_the_whole(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "whole")
    parts = [_part(tmp_path / f"{group}", make_manifest(), [group]) for group in (0, 1)]
    report = merge(parts, tmp_path / "m", quiet=True)
    assert report.content_id == open_cache(whole).content_id() == verify(tmp_path / "m").content_id
    assert report.units == {"samples": 3, "views": 6, "cnn": 6}


def test_more_seeds_and_teachers_become_the_whole(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "whole", make_manifest(num_aug_seeds=8, teachers=BOTH))
    first = make_store(tmp_path / "a", make_manifest(teachers={"cnn": BOTH["cnn"]}))
    second = _part(tmp_path / "b", make_manifest(num_aug_seeds=8, teachers={"cnn": BOTH["cnn"]}), [2, 3])
    third = make_store(tmp_path / "c", make_manifest(num_aug_seeds=8, teachers={"vit": BOTH["vit"]}))
    report = merge([third, first, second], tmp_path / "m", quiet=True)
    assert report.content_id == open_cache(whole).content_id()
    assert report.total_units == sum(report.units.values())


def test_blocks_of_one_shard_may_be_in_different_caches(tmp_path: Path) -> None:
    parts = [
        _part(tmp_path / f"{n}", make_manifest(), [0, 1], blocks=r)
        for n, r in ((0, range(1)), (1, range(1, 3)))
    ]
    merge(parts, tmp_path / "m", quiet=True)
    assert open_cache(tmp_path / "m").content_id() == open_cache(make_store(tmp_path / "w")).content_id()


def test_a_dry_run_tells_the_content_id_and_writes_nothing(tmp_path: Path) -> None:
    parts = [_part(tmp_path / f"{group}", make_manifest(), [group]) for group in (0, 1)]
    dry = merge(parts, tmp_path / "m", dry_run=True, quiet=True)
    assert not (tmp_path / "m").exists()
    made = merge(parts, tmp_path / "m", quiet=True)
    assert (dry.content_id, dry.units, dry.num_bytes) == (made.content_id, made.units, made.num_bytes)


def _changed(
    path: Path, unit: Unit, values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", number: int
) -> None:
    """Put another object in place of one of a unit's, and say so in the record."""
    cache = open_cache(path)
    spec, position = cache.layout.objects_of(unit)[number]
    data = encode_object(spec, values)
    (path / spec.object_path(*position)).write_bytes(data)
    _describe(path, unit, number, data)


def _describe(path: Path, unit: Unit, number: int, data: bytes) -> None:
    record = read_record(LocalObjects(path), unit.name)
    entries = list(record.objects)
    entries[number] = entries[number].model_copy(update={"size": len(data), "sha256": sha256_hex(data)})
    (path / record_path(unit.name)).write_bytes(
        dump_record(record.model_copy(update={"objects": tuple(entries)}))
    )
    (path / "commits" / "index.json").unlink(missing_ok=True)


def test_other_targets_of_one_unit_are_named(tmp_path: Path) -> None:
    first, second = make_store(tmp_path / "a"), make_store(tmp_path / "b")
    planes = np.stack([open_cache(first)._reader.planes("cnn", 1, seed) for seed in (2, 3)])
    planes[1, 9, 0] += 1
    _changed(second, Unit("cnn", 1, 1), planes, 0)
    place = r"cnn of train-000.tar from sample 8, group 1"
    message = rf"{place} differs between .*a and .*b: 1 of 4 views have other targets"
    with pytest.raises(ManifestMismatchError, match=message):
        merge([first, second], tmp_path / "m", quiet=True)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, r"sample 's0-0002' has label 2 against 3"),
        (2, r"sample 's0-0002' has image digest \d+ against \d+"),
    ],
)
def test_another_label_or_image_under_one_key_is_named(tmp_path: Path, number: int, message: str) -> None:
    first, second = make_store(tmp_path / "a"), make_store(tmp_path / "b")
    table = table_of(open_cache(first).blocks[0])
    values = (table.labels, table.digests)[number - 1].copy()
    values[2] += 1
    _changed(second, Unit.samples(0), values, number)
    with pytest.raises(ManifestMismatchError, match=message):
        merge([first, second], tmp_path / "m", dry_run=True, quiet=True)


def test_another_view_is_named(tmp_path: Path) -> None:
    first, second = make_store(tmp_path / "a"), make_store(tmp_path / "b")
    writer = CacheWriter.create_or_resume(first, make_manifest())
    digests = view_digests_of(writer, writer.layout.blocks[0], 1)
    digests[1, 3] += 1
    _changed(second, Unit.views(0, 1), digests, 0)
    with pytest.raises(ManifestMismatchError, match=r"sample 's0-0003' under aug_seed 3 has another view"):
        merge([first, second], tmp_path / "m", quiet=True)


def test_equal_values_in_other_bytes_are_no_conflict(tmp_path: Path) -> None:
    manifest = make_manifest(num_samples=[200], rows_per_block=128)  # so many that they are compressed at all
    first, second = make_store(tmp_path / "a", manifest), make_store(tmp_path / "b", manifest)
    labels = np.frombuffer(open_cache(first)._reader.padded_samples(0).labels.tobytes(), dtype=np.int32)
    frame = blosc.compress(labels, b"zstd", 1, 2, 256)
    data = frame + value(frame).to_bytes(4, "little")
    (second / "samples/label/c/0").write_bytes(data)
    _describe(second, Unit.samples(0), 1, data)
    report = merge([first, second], tmp_path / "m", quiet=True)
    assert report.content_id == open_cache(first).content_id()
    assert "1 units have equal values in other bytes" in report.notes[0]


def test_a_damaged_object_is_never_copied(tmp_path: Path) -> None:
    first, second = (_part(tmp_path / f"{group}", make_manifest(), [group]) for group in (0, 1))
    path = second / "teachers/cnn/targets/c/1/0/2"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptChunkError, match=r"targets/c/1/0/2 in .*1 is damaged"):
        merge([first, second], tmp_path / "m", quiet=True)
    assert not open_cache(tmp_path / "m").is_committed("cnn/2-1")


def _renamed(path: Path, tmp_path: Path) -> Path:
    """Return a cache of the same samples in shards of other names."""
    manifest = make_manifest()
    shards = [
        entry.model_dump() | {"name": f"again-{i}.tar"} for i, entry in enumerate(manifest.identity.shards)
    ]
    identity = Identity.parse(manifest.identity.model_dump() | {"shards": shards}, where="test")
    return make_store(tmp_path / "again", Manifest(identity=identity, about=manifest.about))


def test_a_key_in_two_shards_is_named_and_may_be_accepted(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a")
    second = _renamed(first, tmp_path)
    message = r"sample 's\d-\d{4}' is in shard 'train-00\d.tar' of .*a and in shard 'again-\d.tar' of .*again .--allow-"
    with pytest.raises(ManifestMismatchError, match=message):
        merge([first, second], tmp_path / "m", quiet=True)
    report = merge([first, second], tmp_path / "m", allow_repeated_keys=True, quiet=True)
    assert report.units == {"samples": 6, "views": 12, "cnn": 12}
    verify(tmp_path / "m")
    assert merge([tmp_path / "m", first], tmp_path / "n", quiet=True).content_id == report.content_id


def test_two_caches_are_needed_and_the_result_is_a_third(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a")
    with pytest.raises(ConfigError, match="two caches or more"):
        merge([first], tmp_path / "m", quiet=True)


def test_views_of_other_decoders_are_noted(tmp_path: Path) -> None:
    first = _part(tmp_path / "a", make_manifest(), [0])
    manifest = make_manifest()
    about = manifest.about.model_copy(update={"decoder": {"pillow": "9"}})
    second = _part(tmp_path / "b", Manifest(identity=manifest.identity, about=about), [1])
    report = merge([first, second], tmp_path / "m", quiet=True)
    assert "decoded by other libraries than those of" in report.summary()


def test_a_cache_that_is_one_already_can_be_copied_by_a_merge_with_itself(tmp_path: Path) -> None:
    first = make_store(tmp_path / "a")
    shutil.copytree(first, tmp_path / "b")
    assert (
        merge([first, tmp_path / "b"], tmp_path / "m", quiet=True).content_id
        == open_cache(first).content_id()
    )
