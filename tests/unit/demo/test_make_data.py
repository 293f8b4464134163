"""The shards that ship, and the script that made them."""

import gzip
import io
import struct
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from kdcache.demo.make_data import LABELLED, TEST, UNLABELLED, balanced_rows, read_split, write_all

SHIPPED = Path(__file__).parents[3] / "kdcache" / "demo" / "data"


def _members(pattern: str) -> dict[str, bytes]:
    content = {}
    for path in sorted(SHIPPED.glob(pattern)):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                content[member.name] = file.read()
    return content


def _labels(pattern: str) -> Counter[int]:
    return Counter(int(text) for name, text in _members(pattern).items() if name.endswith(".cls"))


def test_labelled_shards_hold_twenty_pictures_of_each_class() -> None:
    assert _labels("labelled-*.tar") == dict.fromkeys(range(10), LABELLED // 10)


def test_unlabelled_shards_hold_pictures_only() -> None:
    names = list(_members("unlabelled-*.tar"))
    assert len(names) == UNLABELLED
    assert {name.split(".")[1] for name in names} == {"png"}


def test_test_shards_hold_a_hundred_pictures_of_each_class() -> None:
    assert _labels("test-*.tar") == dict.fromkeys(range(10), TEST // 10)


def test_no_picture_ships_twice() -> None:
    pictures = [content for name, content in _members("*.tar").items() if name.endswith(".png")]
    assert len(set(pictures)) == len(pictures)


def test_pictures_are_grey_and_small() -> None:
    picture = Image.open(io.BytesIO(next(iter(_members("test-*.tar").values()))))
    assert (picture.mode, picture.size) == ("L", (28, 28))


def test_shipped_files_stay_under_seven_megabytes() -> None:
    files = [*SHIPPED.iterdir(), *SHIPPED.parent.glob("*.safetensors")]
    assert sum(path.stat().st_size for path in files) <= 7_000_000


def test_the_notice_of_the_data_is_carried() -> None:
    assert "Copyright (c) 2017 Zalando SE" in (SHIPPED / "LICENSE-fashion-mnist").read_text()


def test_rows_are_balanced_and_skip_those_that_were_taken() -> None:
    labels_N = np.tile(np.arange(10, dtype=np.uint8), 6)
    first, second = balanced_rows(labels_N, 20), balanced_rows(labels_N, 30, skip=2)
    assert not set(first) & set(second)
    assert Counter(labels_N[second].tolist()) == dict.fromkeys(range(10), 3)


def _write_idx(folder: Path, split: str, count: int) -> None:
    pixels = np.arange(count * 784, dtype=np.uint32).astype(np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = struct.pack(">4i", 2051, count, 28, 28) + pixels.tobytes()
    (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(struct.pack(">2i", 2049, count) + labels.tobytes())
    )


def test_equal_input_gives_equal_shards(tmp_path: Path) -> None:
    _write_idx(tmp_path, "train", LABELLED + UNLABELLED)
    _write_idx(tmp_path, "t10k", TEST)
    assert read_split(tmp_path, "t10k")[0].shape == (TEST, 28, 28)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_all(tmp_path, tmp_path / name)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert first == second
    assert len(first) == 6
