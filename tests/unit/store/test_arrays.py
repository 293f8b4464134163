"""Our array metadata is what zarr-python itself would write."""

import json

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.codecs.sharding import ShardingCodecIndexLocation
from zarr.core.array import ShardsConfigParam
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from kdcache.store.arrays import ArraySpec, grown_document
from kdcache.store.layout import Layout
from tests.support.stores import make_manifest

SPECS = Layout.of(make_manifest().identity).arrays()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.path)
def test_metadata_equals_what_zarr_writes(spec: ArraySpec) -> None:
    objects: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(objects),
        shape=spec.shape,
        dtype=str if spec.dtype == "string" else spec.dtype,
        chunks=spec.chunk,
        shards=None
        if spec.shard is None
        else ShardsConfigParam(shape=spec.shard, index_location=ShardingCodecIndexLocation.start),
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        filters=None,
        fill_value=spec.fill,
        dimension_names=spec.dimensions,
        attributes=spec.attributes,
    )
    written = json.loads(objects["zarr.json"].to_bytes())
    assert spec.document() == json.loads(
        json.dumps(written).replace(', "configuration": {"endian": null}', "")
    )


def test_no_array_has_a_dtype_without_a_stable_specification() -> None:
    assert {spec.dtype for spec in SPECS} == {"string", "int32", "uint64", "uint8", "uint32", "uint16"}


def test_chunk_bytes_count_what_is_decoded() -> None:
    spec = next(spec for spec in SPECS if spec.path.endswith("targets"))
    assert spec.chunk_bytes == 15 * 8 * np.dtype("uint16").itemsize


def test_strings_are_bounded_too() -> None:
    spec = next(spec for spec in SPECS if spec.dtype == "string")
    assert spec.chunk_bytes == 4 + 8 * (4 + 1024)
    assert spec.largest_object == spec.chunk_bytes + 4096


@pytest.mark.parametrize(
    ("shape", "is_grown"),
    [
        ([8, 15, 24], True),
        ([4, 15, 48], True),
        ([2, 15, 24], False),
        ([4, 16, 24], False),
        ([4, 15, 1 << 60], False),
        ([True, 15, 24], False),
        ([4, 15], False),
        ("4, 15, 24", False),
    ],
)
def test_an_array_may_have_grown_in_seeds_and_rows_only(shape: object, is_grown: bool) -> None:
    document = next(spec for spec in SPECS if spec.path.endswith("targets")).document()
    assert document["shape"] == [4, 15, 24]
    found = document | {"shape": shape}
    assert (grown_document(found, document) == found) == is_grown
