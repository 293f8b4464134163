"""Objects are what zarr writes, equal on every thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from kdcache.store.documents import pretty_json
from kdcache.store.layout import Layout
from kdcache.store.pack import encode_object
from tests.support.stores import make_manifest

LAYOUT = Layout.of(make_manifest(rows_per_block=1024, num_samples=(1024, 1024)).identity)
SPEC = LAYOUT.targets["cnn"]
VALUES = np.random.default_rng(0).integers(0, 300, SPEC.object_shape).astype(np.uint16)


def test_an_object_is_to_the_byte_what_zarr_writes(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_bytes(pretty_json(SPEC.document()))
    array = zarr.open_array(LocalStore(tmp_path), mode="r+")
    array[2:4, :, 1024:2048] = VALUES
    assert encode_object(SPEC, VALUES) == (tmp_path / "c" / "1" / "0" / "1").read_bytes()


def test_equal_values_give_equal_bytes_on_any_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        objects = {bytes(data) for data in pool.map(lambda _: encode_object(SPEC, VALUES), range(8))}
    assert objects == {encode_object(SPEC, VALUES)}


def test_chunks_that_are_all_fill_are_written_too() -> None:
    empty = np.full(SPEC.object_shape, SPEC.fill, dtype=np.uint16)
    index = np.frombuffer(encode_object(SPEC, empty)[:32], dtype="<u8")
    assert (index < 10_000).all()


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an object of teachers/cnn/targets has shape \(2, 15, 1024\)"):
        encode_object(SPEC, VALUES[:1])
