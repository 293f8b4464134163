"""Arrays to the bytes of one object, byte for byte those that zarr-python writes for the array's metadata."""

import numpy as np
from numpy.typing import NDArray

from kdcache.store.arrays import ArraySpec
from kdcache.store.chunks import encode_chunk, encode_index, encode_texts

__all__ = ["encode_object"]


def encode_object(spec: ArraySpec, values: NDArray[np.generic]) -> bytes:
    """Return the bytes of one object; equal values give equal bytes on any thread.

    Why not zarr-python: docs/decisions/0014-objects-are-packed-here.md.

    Args:
        spec: the array.
        values: all values of the object, padding included, in the array's dtype (text as objects).
    """
    if values.shape != spec.object_shape:
        raise ValueError(f"an object of {spec.path} has shape {spec.object_shape}, not {values.shape}")
    if spec.dtype == "string":
        return encode_texts(values.tolist())
    rows = spec.chunk[0]
    chunks = [encode_chunk(values[row : row + rows], spec.dtype) for row in range(0, len(values), rows)]
    if spec.shard is None:
        return chunks[0]
    return b"".join([encode_index([len(chunk) for chunk in chunks]), *chunks])
