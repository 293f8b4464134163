"""Real WebDataset shards on disk, with pictures that can be told apart."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from webdataset.writer import TarWriter

__all__ = ["picture", "png_bytes", "write_members", "write_shard", "write_shards"]


def picture(number: int, *, size: tuple[int, int] = (40, 36)) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) of smooth colours that no other number has."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def png_bytes(pixels_HW3: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(
    path: Path,
    numbers: Iterable[int],
    *,
    labels: Mapping[int, int] | None = None,
    images: Mapping[int, bytes] | None = None,
) -> Path:
    """Write samples ``s<number>``; without ``labels`` a sample's label is its number modulo 10.

    ``images`` replaces the bytes of some pictures; a sample that ``labels`` leaves out has no label.
    """
    with TarWriter(str(path), encoder=False) as sink:
        for number in numbers:
            sample = {
                "__key__": f"s{number:05d}",
                "png": (images or {}).get(number) or png_bytes(picture(number)),
            }
            label = number % 10 if labels is None else labels.get(number)
            if label is not None:
                sample["cls"] = str(label).encode()
            sink.write(sample)
    return path


def write_shards(folder: Path, num_samples: Sequence[int]) -> list[str]:
    """Write shards ``train-000.tar`` and so on with running sample numbers; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, first = [], 0
    for shard, count in enumerate(num_samples):
        paths.append(str(write_shard(folder / f"train-{shard:03d}.tar", range(first, first + count))))
        first += count
    return paths


def write_members(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar of the given (name, bytes) in this order."""
    import tarfile

    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
