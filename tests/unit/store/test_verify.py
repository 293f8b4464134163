"""verify finds every damage, and names where it is."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kdcache.digest import sha256_hex
from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.commits import CommitRecord, ObjectDigest, dump_index, dump_record, load_record
from kdcache.store.layout import Layout, Unit
from kdcache.store.pack import encode_object
from kdcache.store.reader import open_cache
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.stores import fill_block, make_manifest, make_store, make_teacher

TEACHERS = {
    "gaps": make_teacher(),
    "dense": make_teacher(encoding="dense8"),
    "exact": make_teacher(encoding="float32"),
    "hard": make_teacher(encoding="hard"),
}
MANIFEST = make_manifest(teachers=TEACHERS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "c", MANIFEST)


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "c"))


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_an_intact_cache_is_reported_in_numbers(store: Path) -> None:
    report = verify(store)
    assert (report.units, report.total_units) == (33, 33)
    assert report.objects == 3 * 4 + 6 * 2 + 4 * 6
    data = [file for file in files_of(store) if file.suffix != ".json"]
    assert report.num_bytes == sum(file.stat().st_size for file in data)
    assert report.content_id == open_cache(store).content_id()
    assert report.unknown == ()
    assert "is intact: 33 of 33 units committed" in report.summary()


def test_a_growing_cache_is_intact_too(tmp_path: Path) -> None:
    writer = CacheWriter.create_or_resume(tmp_path / "c", MANIFEST)
    fill_block(writer, writer.layout.blocks[0], groups=[1])
    assert verify(tmp_path / "c").units == 6


def test_every_flipped_bit_in_every_kind_of_object_is_found(copy: Path) -> None:
    """Each file of the cache has some of its bits flipped, one at a time."""
    rng = random.Random(0)
    flips, missed = 0, []
    for file in files_of(copy):
        intact = file.read_bytes()
        for bit in rng.sample(range(8 * len(intact)), 2):
            damaged = bytearray(intact)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            flips += 1
            try:
                verify(copy)
            except StoreError as error:
                if file.name not in str(error):
                    missed.append((file, bit, str(error)))
            else:
                missed.append((file, bit, "not found"))
        file.write_bytes(intact)
    assert missed == []
    assert flips >= 200


def test_every_truncated_object_is_found(copy: Path) -> None:
    for file in files_of(copy):
        intact = file.read_bytes()
        file.write_bytes(intact[: len(intact) // 2])
        with pytest.raises(StoreError, match=str(file.relative_to(copy))):
            verify(copy)
        file.write_bytes(intact)


def test_every_missing_object_is_found(copy: Path) -> None:
    # Without an index, or the record of a unit on which no other builds, a cache is only less complete.
    for file in files_of(copy):
        if file.name != "index.json":
            file.rename(copy / "away")
            with pytest.raises(StoreError, match=str(file.relative_to(copy))):
                verify(copy)
            (copy / "away").rename(file)


def test_records_missing_without_an_index_break_the_order(copy: Path) -> None:
    (copy / "commits/index.json").unlink()
    (copy / "commits/views/1-0.json").unlink()
    with pytest.raises(CorruptChunkError, match=r"commits/views/1-0.json .*it is missing, yet \w+/1-0 is"):
        verify(copy)


def test_what_killed_runs_left_is_counted_but_no_damage(copy: Path) -> None:
    (copy / "commits/index.json").unlink()
    (copy / "commits/gaps/1-0.json").unlink()
    (copy / "notes.txt").write_text("mine")
    report = verify(copy)
    assert report.unknown == ("notes.txt", "teachers/gaps/targets/c/0/0/1")
    assert "2 objects belong to no committed unit" in report.summary()


def rewrite(path: Path, unit: str, change: Callable[[CommitRecord], CommitRecord]) -> None:
    """Replace a record by a well-sealed lie."""
    file = path / f"commits/{unit}.json"
    file.write_bytes(dump_record(change(load_record(file.read_bytes(), where=""))))
    (path / "commits/index.json").unlink(missing_ok=True)


def replace_object(path: Path, unit: Unit, number: int, values: NDArray[Any]) -> None:
    """Replace an object and its digest in the record: only the rules of the format are left to find it."""
    spec, position = Layout.of(MANIFEST.identity).objects_of(unit)[number]
    data = encode_object(spec, values)
    (path / spec.object_path(*position)).write_bytes(data)
    entry = ObjectDigest(path=spec.object_path(*position), size=len(data), sha256=sha256_hex(data))

    def change(record: CommitRecord) -> CommitRecord:
        objects = (*record.objects[:number], entry, *record.objects[number + 1 :])
        return record.model_copy(update={"objects": objects})

    rewrite(path, unit.name, change)


@pytest.mark.parametrize(
    ("unit", "change", "message"),
    [
        ("gaps/0-0", {"unit": "gaps/0-1"}, "it is the record of gaps/0-1"),
        ("gaps/0-0", {"objects": ()}, "it names other objects than teachers/gaps/targets/c/0/0/0"),
        ("gaps/0-0", {"rows": 1}, "it has 14 views, its record says 1"),
        ("samples/0", {"rows": 1}, "its record counts other samples"),
    ],
)
def test_a_record_that_lies_is_found(copy: Path, unit: str, change: dict[str, object], message: str) -> None:
    rewrite(copy, unit, lambda record: record.model_copy(update=change))
    with pytest.raises(CorruptChunkError, match=message):
        verify(copy)


def test_a_record_of_an_unknown_unit_is_found(copy: Path) -> None:
    (copy / "commits/gaps/9-0.json").write_bytes((copy / "commits/gaps/0-0.json").read_bytes())
    with pytest.raises(CorruptChunkError, match=r"commits/gaps/9-0.json .*the manifest has no such unit"):
        verify(copy)


def test_an_index_that_tells_another_story_is_found(copy: Path) -> None:
    records = list(open_cache(copy).records())
    lie = records[0].model_copy(update={"rows": 99})
    (copy / "commits/index.json").write_bytes(dump_index([lie, *records[1:]]))
    with pytest.raises(CorruptChunkError, match=r"index.json .*its record of dense/0-0 differs from"):
        verify(copy)


LABELS = np.array([0, -1, 2, -1, 4, -1, 6, -1], dtype=np.int32)
STATUS = np.array([0, 0, 0, 0, 2, 0, 0, 0], dtype=np.uint8)
KEYS = np.array([f"s0-{n:04d}" for n in range(8)], dtype=object)


@pytest.mark.parametrize(
    ("block", "number", "values", "message"),
    [
        (0, 0, np.array([*KEYS[:7], KEYS[0]], dtype=object), "a key is there twice"),
        (1, 0, KEYS, "padding has keys"),
        (0, 1, LABELS + 18, "a label is not below 20"),
        (0, 1, LABELS - 1, "a label is below -1"),
        (1, 1, LABELS, "padding has labels"),
        (0, 3, STATUS + 4, "a sample has an unknown status"),
        (1, 3, STATUS, "padding is not marked as such"),
    ],
)
def test_samples_that_break_a_rule_are_found(
    copy: Path,
    block: int,
    number: int,
    values: NDArray[Any],
    message: str,
) -> None:
    replace_object(copy, Unit.samples(block), number, values)
    with pytest.raises(CorruptChunkError, match=message):
        verify(copy)


def test_a_bad_sample_with_views_is_found(copy: Path) -> None:
    replace_object(copy, Unit.views(0, 0), 0, np.ones((2, 8), dtype=np.uint32))
    with pytest.raises(CorruptChunkError, match="aug_seed 0 has data for a bad sample"):
        verify(copy)


def test_targets_that_break_a_rule_are_found(copy: Path) -> None:
    replace_object(copy, Unit("gaps", 0, 0), 0, np.zeros((2, 15, 8), dtype=np.uint16))
    with pytest.raises(CorruptChunkError, match=r"targets/c/0/0/0 .*row 0: a class id is there twice"):
        verify(copy)


def test_targets_of_a_bad_sample_are_found(copy: Path) -> None:
    planes_PR = open_cache(copy)._reader.planes("gaps", 0, 0).copy()
    planes_PR[:, 4] = planes_PR[:, 0]
    replace_object(copy, Unit("gaps", 0, 0), 0, np.stack([planes_PR, planes_PR]))
    with pytest.raises(CorruptChunkError, match="aug_seed 0 has data for a bad sample"):
        verify(copy)


def test_no_cache_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no cache at"):
        verify(tmp_path / "none")
