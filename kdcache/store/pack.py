"""Arrays to the bytes of one object: zarr-python encodes it in memory, from the metadata on disk."""

import numpy as np
import zarr
from numcodecs import blosc  # type: ignore[attr-defined]
from numpy.typing import NDArray
from zarr import AsyncArray
from zarr.core.array_spec import ArrayConfig
from zarr.core.buffer import Buffer
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from kdcache.store.arrays import ArraySpec

__all__ = ["encode_object"]

# With more threads Blosc writes its blocks in the order in which they happen to finish.
blosc.use_threads = False


def encode_object(spec: ArraySpec, position: tuple[int, ...], values: NDArray[np.generic]) -> bytes:
    """Return the bytes of the object at ``position``; equal values give equal bytes on any thread.

    Args:
        spec: the array.
        position: where the object is on the array's grid of objects.
        values: all values of the object, padding included, in the array's dtype (text as objects).
    """
    if values.shape != spec.object_shape:
        raise ValueError(f"an object of {spec.path} has shape {spec.object_shape}, not {values.shape}")
    objects: dict[str, Buffer] = {}
    # zarr.open_array takes no config, and would leave out chunks that are all fill (views of bad samples).
    array = zarr.Array(
        AsyncArray(
            metadata=ArrayV3Metadata.from_dict(spec.document()),
            store_path=StorePath(MemoryStore(objects)),
            config=ArrayConfig.from_dict({"write_empty_chunks": True}),
        )
    )
    spans = zip(position, spec.object_shape, strict=True)
    array[tuple(slice(i * size, (i + 1) * size) for i, size in spans)] = values
    return objects[spec.object_path(*position).removeprefix(f"{spec.path}/")].to_bytes()
