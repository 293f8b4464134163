"""TinyViT's cache of logits, from its published format, as fast as reading and writing it a record at a time can be.

A record is an int32 seed, K int16 class ids and K float16 probabilities: 4 + 4K bytes. ``rank0-values.bin`` holds
one after the other, ``rank0-keys.txt`` their keys in the same order. The writer is fed record by record through a
queue and runs in a process of its own; the reader keeps a dictionary of all keys.
"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdcache.logits import Float32, Int32

__all__ = ["TinyViTReader", "dense_targets", "record_dtype", "write_directly", "write_through_queue"]

_INT16, _FLOAT16 = np.dtype("<i2"), np.dtype("<f2")
_CONTEXT = multiprocessing.get_context("fork")


def record_dtype(top_k: int) -> np.dtype[Any]:
    """Return one record as NumPy knows it."""
    return np.dtype([("seed", "<i4"), ("ids", _INT16, top_k), ("probs", _FLOAT16, top_k)])


class TinyViTReader:
    """Finds, reads and parses one record at a time."""

    def __init__(self, folder: Path, top_k: int) -> None:
        self._size, self._top_k = 4 + 4 * top_k, top_k
        keys = (folder / "rank0-keys.txt").read_text().split("\n")[:-1]
        self._numbers = {key: number for number, key in enumerate(keys)}
        self._buffered = (folder / "rank0-values.bin").open("rb")
        self._file = self._buffered.fileno()

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its file."""
        self._buffered.close()

    def in_sequence(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield records by seek and read of a buffered file: quickest where they follow each other."""
        seek, read, numbers, size = self._buffered.seek, self._buffered.read, self._numbers, self._size
        for key in keys:
            seek(size * numbers[key])
            yield read(size)

    def at_random(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Yield records by one unbuffered read each: quickest where they lie anywhere."""
        file, numbers, size = self._file, self._numbers, self._size
        for key in keys:
            yield os.pread(file, size, size * numbers[key])

    def parse(self, records: Iterable[bytes]) -> tuple[list[int], Int32, Float32]:
        """Parse record by record, as a data set's samples are; then put them together in a batch.

        Returns:
            The seeds, the class ids (B, K) and their probabilities as float32 (B, K).
        """
        seeds, ids, probs = [], [], []
        top_k, from_buffer = self._top_k, np.frombuffer
        for record in records:
            seeds.append(int.from_bytes(record[:4], "little"))
            ids.append(from_buffer(record, _INT16, top_k, 4))
            probs.append(from_buffer(record, _FLOAT16, top_k, 4 + 2 * top_k))
        shape = (len(seeds), top_k)
        ids_BK = np.concatenate(ids).reshape(shape).astype(np.int32)
        return seeds, ids_BK, np.concatenate(probs).reshape(shape).astype(np.float32)

    def parse_together(self, records: Iterable[bytes]) -> tuple[list[int], Int32, Float32]:
        """Parse a whole batch at once, which a data set of single samples cannot do."""
        together = np.frombuffer(b"".join(records), dtype=record_dtype(self._top_k))
        ids_BK: Int32 = together["ids"].astype(np.int32)
        return together["seed"].tolist(), ids_BK, together["probs"].astype(np.float32)


def dense_targets(ids_BK: Int32, probs_BK: Float32, num_classes: int) -> Tensor:
    """Return probabilities (B, C) as its trainer needs them: what is left is spread over all other classes."""
    kept_BK = torch.from_numpy(probs_BK)
    rest_B1 = (1.0 - kept_BK.sum(dim=1, keepdim=True)) / (num_classes - kept_BK.shape[1])
    dense_BC = rest_B1.repeat(1, num_classes)
    return dense_BC.scatter_(1, torch.from_numpy(ids_BK).long(), kept_BK)


_Records = Iterator[tuple[str, bytes]]


def write_directly(
    folder: Path, keys: Sequence[str], ids_NK: Int32, probs_NK: Float32, *, sync: bool
) -> None:
    """Write records in the calling process, without the queue."""
    _write(folder, _records(keys, ids_NK, probs_NK), sync=sync)


def write_through_queue(
    folder: Path, keys: Sequence[str], ids_NK: Int32, probs_NK: Float32, *, sync: bool
) -> None:
    """Write records as TinyViT does: each goes through a queue to a process that writes it."""
    queue = _CONTEXT.SimpleQueue()
    process = _CONTEXT.Process(target=_write_from, args=(folder, queue, sync))
    process.start()
    for record in _records(keys, ids_NK, probs_NK):
        queue.put(record)
    queue.put(None)
    process.join()


def _write_from(folder: Path, queue: Any, sync: bool) -> None:
    _write(folder, iter(queue.get, None), sync=sync)


def _records(keys: Sequence[str], ids_NK: Int32, probs_NK: Float32) -> _Records:
    seeds_N: NDArray[np.int32] = np.arange(len(keys), dtype=np.int32)
    ids = ids_NK.astype(_INT16)
    probs = probs_NK.astype(_FLOAT16)
    for number, key in enumerate(keys):
        yield key, seeds_N[number].tobytes() + ids[number].tobytes() + probs[number].tobytes()


def _write(folder: Path, records: _Records, *, sync: bool) -> None:
    numbers: dict[str, int] = {}
    with (folder / "rank0-values.bin").open("wb") as values, (folder / "rank0-keys.txt").open("w") as names:
        for key, record in records:
            if key not in numbers:  # distributed samplers pad with repeated samples
                numbers[key] = len(numbers)
                values.write(record)
                names.write(key + "\n")
        for file in (values, names) if sync else ():
            file.flush()
            os.fsync(file.fileno())
