"""Our reader agrees with zarr, and with nothing that is not format 1."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from kdcache.errors import CorruptChunkError, StoreError
from kdcache.store.block_reader import BlockReader
from kdcache.store.layout import Layout
from kdcache.store.objects import LocalObjects
from kdcache.store.spool import Spool
from tests.support.stores import make_manifest, make_store, make_teacher

TEACHERS = {
    "gaps": make_teacher(),
    "dense": make_teacher(encoding="dense8"),
    "exact": make_teacher(encoding="float32"),
    "many": make_teacher(num_classes=70_000),
}
MANIFEST = make_manifest(teachers=TEACHERS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "c", MANIFEST)


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "c"))


def reader_of(path: Path) -> BlockReader:
    return BlockReader(LocalObjects(path), Layout.of(MANIFEST.identity))


@pytest.mark.parametrize("teacher", TEACHERS)
def test_planes_are_what_zarr_reads(store: Path, teacher: str) -> None:
    array: Any = zarr.open_group(store, mode="r")[f"teachers/{teacher}/targets"]
    for block in range(3):
        for seed in range(4):
            expected = array[seed, :, block * 8 : block * 8 + 8]
            found = reader_of(store).planes(teacher, block, seed)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_views_are_what_zarr_reads(store: Path) -> None:
    group: Any = zarr.open_group(store, mode="r")
    for block in range(3):
        for seed in range(4):
            reader = reader_of(store)
            np.testing.assert_array_equal(
                reader.view_digests(block, seed), group["views/digest"][seed, block * 8 : block * 8 + 8]
            )
            np.testing.assert_array_equal(
                reader.thumbnails(block, seed), group["views/thumbnail"][seed, block * 8 : block * 8 + 8]
            )


def test_samples_are_what_zarr_reads(store: Path) -> None:
    group: Any = zarr.open_group(store, mode="r")
    for block in range(3):
        rows = slice(block * 8, block * 8 + 8)
        table = reader_of(store).padded_samples(block)
        assert list(table.keys) == group["samples/key"][rows].tolist()
        np.testing.assert_array_equal(table.labels, group["samples/label"][rows])
        np.testing.assert_array_equal(table.digests, group["samples/digest"][rows])
        np.testing.assert_array_equal(table.status, group["samples/status"][rows])


def test_reading_one_view_of_a_known_object_is_one_range(store: Path) -> None:
    reads: list[tuple[str, int]] = []

    class Counting(LocalObjects):
        def get_range(self, path: str, start: int, length: int) -> bytes:
            reads.append((path, start))
            return super().get_range(path, start, length)

    reader = BlockReader(Counting(store), Layout.of(MANIFEST.identity))
    reader.planes("gaps", 0, 0)
    del reads[:]
    reader.planes("gaps", 0, 1)
    assert [path for path, _ in reads] == ["teachers/gaps/targets/c/0/0/0"]


def test_indexes_kept_do_not_grow_without_end(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcache.store.block_reader._INDEXES_KEPT", 2)
    reader = reader_of(store)
    for _ in range(2):
        for block in range(3):
            reader.planes("gaps", block, 0)
    assert len(reader._indexes) == 2


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(data_type="float64"),
        lambda d: d.update(data_type="object"),
        lambda d: d["codecs"][0]["configuration"]["codecs"].insert(1, {"name": "numcodecs.pickle"}),
        lambda d: d["codecs"].__setitem__(0, {"name": "bytes"}),
        lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[2, 15, 2**40]),
        lambda d: d.update(shape=[4, 15]),
        lambda d: d.update(shape=[2, 15, 24]),
        lambda d: d.update(shape="many"),
        lambda d: d.update(shape=[4, 15, "24"]),
        lambda d: d.update(zarr_format=2),
        lambda d: d.update(fill_value=0),
        lambda d: d.update(storage_transformers=[{"name": "evil"}]),
        lambda d: d.update(extra=1),
    ],
)
def test_metadata_that_is_not_format_1_stops_before_any_decode(copy: Path, change: Change) -> None:
    path = copy / "teachers/gaps/targets/zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"targets/zarr\.json .* is not what format 1 says"):
        reader_of(copy).planes("gaps", 0, 0)


def test_metadata_that_is_no_object_is_refused(copy: Path) -> None:
    (copy / "samples/key/zarr.json").write_text("[]")
    with pytest.raises(StoreError, match="is not what format 1 says"):
        reader_of(copy).samples(0)


def test_missing_metadata_is_said(copy: Path) -> None:
    (copy / "samples/key/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"samples/key/zarr\.json is missing"):
        reader_of(copy).samples(0)


def test_an_array_that_already_grew_is_read(copy: Path) -> None:
    path = copy / "teachers/gaps/targets/zarr.json"
    document = json.loads(path.read_text())
    document["shape"][0] = 8
    path.write_text(json.dumps(document))
    assert reader_of(copy).planes("gaps", 0, 0).shape == (15, 8)


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("teachers/gaps/targets/c/0/0/1", lambda reader: reader.planes("gaps", 1, 0)),
        ("views/digest/c/0/1", lambda reader: reader.view_digests(1, 0)),
        ("views/thumbnail/c/0/1/0/0/0", lambda reader: reader.thumbnails(1, 0)),
        ("samples/key/c/1", lambda reader: reader.samples(1)),
        ("samples/status/c/1", lambda reader: reader.samples(1)),
    ],
)
def test_a_damaged_truncated_or_missing_object_is_named(
    copy: Path, path: str, read: Callable[[BlockReader], object]
) -> None:
    data = (copy / path).read_bytes()
    for damaged in (bytes([data[0] ^ 1]) + data[1:], data[: min(30, len(data) - 1)], data[:2], b""):
        (copy / path).write_bytes(damaged)
        with pytest.raises(CorruptChunkError, match=rf"{path} in .* is damaged: .*precompute command again"):
            read(reader_of(copy))
    (copy / path).unlink()
    with pytest.raises(CorruptChunkError, match=rf"{path} in .* is damaged: it is committed, but missing"):
        read(reader_of(copy))


class _BadNetwork(LocalObjects):
    """Flips a bit in the first ``damages`` answers that tell of an object, and counts the requests for it."""

    def __init__(self, root: Path, path: str, damages: int) -> None:
        super().__init__(root)
        self._path, self._damages, self.requests = path, damages, 0

    def get_range(self, path: str, start: int, length: int) -> bytes:
        data = super().get_range(path, start, length)
        if path != self._path:
            return data
        self.requests += 1
        return bytes([data[0] ^ 1]) + data[1:] if self.requests <= self._damages else data


READS = [
    ("teachers/gaps/targets/c/0/0/1", lambda reader: reader.planes("gaps", 1, 0)),
    ("samples/key/c/1", lambda reader: np.array(reader.samples(1).keys)),
]


@pytest.mark.parametrize("with_spool", [False, True])
@pytest.mark.parametrize(("path", "read"), READS)
def test_bytes_that_the_network_damaged_are_read_again(
    store: Path, path: str, read: Callable[[BlockReader], Any], with_spool: bool
) -> None:
    objects = _BadNetwork(store, path, damages=1)
    reader = BlockReader(objects, Layout.of(MANIFEST.identity), Spool() if with_spool else None)
    expected = read(reader_of(store))
    np.testing.assert_array_equal(read(reader), expected)
    requests = objects.requests
    np.testing.assert_array_equal(read(reader), expected)
    assert objects.requests - requests == (0 if with_spool and "key" in path else 1)


@pytest.mark.parametrize("with_spool", [False, True])
@pytest.mark.parametrize(("path", "read"), READS)
def test_bytes_that_are_damaged_twice_are_named_and_not_kept(
    store: Path, path: str, read: Callable[[BlockReader], Any], with_spool: bool
) -> None:
    objects = _BadNetwork(store, path, damages=2)
    reader = BlockReader(objects, Layout.of(MANIFEST.identity), Spool() if with_spool else None)
    with pytest.raises(CorruptChunkError, match=rf"{path} in .* is damaged: "):
        read(reader)
    assert objects.requests == 2
    np.testing.assert_array_equal(read(reader), read(reader_of(store)))


@pytest.mark.parametrize(
    ("path", "requests"), [("samples/key/c/0", 1), ("teachers/gaps/targets/c/0/0/0", 1 + 2)]
)
def test_readers_that_share_a_spool_ask_once_for_samples_and_indexes(
    store: Path, path: str, requests: int
) -> None:
    objects, spool = _BadNetwork(store, path, damages=0), Spool()
    for _ in range(2):
        reader = BlockReader(objects, Layout.of(MANIFEST.identity), spool)
        reader.samples(0)
        reader.planes("gaps", 0, 0)
    assert objects.requests == requests


def test_an_index_that_points_elsewhere_is_refused(copy: Path) -> None:
    import google_crc32c

    path = copy / "teachers/gaps/targets/c/0/0/0"
    data = path.read_bytes()
    for entry in ([0, 100], [36, 2**50], [2**63, 10]):
        index = np.array([entry, entry], dtype="<u8").tobytes()
        path.write_bytes(index + google_crc32c.value(index).to_bytes(4, "little") + data[36:])
        with pytest.raises(CorruptChunkError, match="its index points to where no chunk can be"):
            reader_of(copy).planes("gaps", 0, 0)


def test_a_table_of_absurd_size_is_not_read(copy: Path) -> None:
    with (copy / "samples/key/c/0").open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(CorruptChunkError, match="it has 1,073,741,824 bytes, more than the"):
        reader_of(copy).samples(0)
