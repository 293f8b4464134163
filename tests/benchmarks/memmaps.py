"""The least that reading can cost: records in one array on disk, without keys, checks or compression."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcache.logits import Float32, Int32
from tests.benchmarks.tinyvit import record_dtype

__all__ = ["copy", "open_records", "to_float32", "write_records"]

Records = NDArray[Any]


def write_records(path: Path, ids_NK: Int32, probs_NK: Float32) -> None:
    """Write records as TinyViT's, all at once."""
    records_N = np.zeros(len(ids_NK), dtype=record_dtype(ids_NK.shape[1]))
    records_N["ids"], records_N["probs"] = ids_NK, probs_NK
    records_N.tofile(path)


def open_records(path: Path, top_k: int) -> Records:
    """Map them into memory."""
    return np.memmap(path, dtype=record_dtype(top_k), mode="r")


def copy(records_N: Records) -> Records:
    """Return records as they are."""
    return np.array(records_N)


def to_float32(records_N: Records) -> tuple[Int32, Float32]:
    """Return class ids and probabilities (N, K) of records."""
    return records_N["ids"].astype(np.int32), records_N["probs"].astype(np.float32)
