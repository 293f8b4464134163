"""Build the demo's shards from the Fashion-MNIST files; how ``kdcache/demo/data`` was made.

``python -m kdcache.demo.make_data --data /usr/share/datasets/fashion-mnist --out kdcache/demo/data``

The files (``train-images-idx3-ubyte.gz`` and so on) come with Debian's ``dataset-fashion-mnist``. Equal input
gives equal bytes: times and owners in the tar headers are zero.
"""

import argparse
import gzip
import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["balanced_rows", "main", "read_split", "write_all", "write_shard"]

NUM_CLASSES = 10
LABELLED, UNLABELLED, TEST = 200, 1800, 1000
LABELLED_SHARDS, UNLABELLED_SHARDS, TEST_SHARDS = 1, 4, 1

Uint8 = NDArray[np.uint8]


def read_split(data: Path, split: str) -> tuple[Uint8, Uint8]:
    """Return images uint8 (N, 28, 28) and labels uint8 (N,) of ``split``, ``train`` or ``t10k``."""
    pixels = gzip.decompress((data / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    images_NHW = np.frombuffer(pixels, dtype=np.uint8, offset=16).reshape(-1, 28, 28).copy()
    return images_NHW, np.frombuffer(labels, dtype=np.uint8, offset=8).copy()


def balanced_rows(labels_N: Uint8, count: int, *, skip: int = 0) -> list[int]:
    """Return ``count`` rows with equally many of each class, taken in turn after ``skip`` of each.

    >>> balanced_rows(np.array([0, 1, 0, 1] + list(range(2, 10)), dtype=np.uint8), 10)
    [0, 1, 4, 5, 6, 7, 8, 9, 10, 11]
    """
    per_class = count // NUM_CLASSES
    by_class = [np.flatnonzero(labels_N == label)[skip : skip + per_class] for label in range(NUM_CLASSES)]
    return [int(row) for row in np.stack(by_class, axis=1).reshape(-1)]


def write_shard(path: Path, samples: Iterable[tuple[str, Uint8, int | None]]) -> None:
    """Write (key, picture, label) as ``key.png`` and, where there is a label, ``key.cls``."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, image_HW, label in samples:
            buffer = io.BytesIO()
            Image.fromarray(image_HW).save(buffer, format="PNG", optimize=True)
            _add(tar, f"{key}.png", buffer.getvalue())
            if label is not None:
                _add(tar, f"{key}.cls", str(label).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_shards(
    out: Path,
    images_NHW: Uint8,
    labels: Sequence[int | None],
    rows: Sequence[int],
    *,
    name: str,
    num_shards: int,
) -> None:
    per_shard = -(-len(rows) // num_shards)
    for shard in range(num_shards):
        part = rows[shard * per_shard : (shard + 1) * per_shard]
        samples = [(f"{name}{row:05d}", images_NHW[row], labels[row]) for row in part]
        write_shard(out / f"{name}-{shard:03d}.tar", samples)


def write_all(data: Path, out: Path) -> None:
    """Write the labelled, the unlabelled and the test shards; no picture is in two of them."""
    images_NHW, labels_N = read_split(data, "train")
    labels = labels_N.tolist()
    rows = balanced_rows(labels_N, LABELLED)
    _write_shards(out, images_NHW, labels, rows, name="labelled", num_shards=LABELLED_SHARDS)
    rows = balanced_rows(labels_N, UNLABELLED, skip=LABELLED // NUM_CLASSES)
    nothing = [None] * len(labels)
    _write_shards(out, images_NHW, nothing, rows, name="unlabelled", num_shards=UNLABELLED_SHARDS)
    images_NHW, labels_N = read_split(data, "t10k")
    rows = balanced_rows(labels_N, TEST)
    _write_shards(out, images_NHW, labels_N.tolist(), rows, name="test", num_shards=TEST_SHARDS)


def main() -> None:
    """Read the two folders from the command line and build the shards."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data")
    args = parser.parse_args()
    write_all(args.data, args.out)


if __name__ == "__main__":
    main()
