"""Strange and broken pictures: each is decoded as documented or counted as bad, by both stages alike."""

import io
import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kdcache.config.views import ViewPolicy
from kdcache.data.evaluation import eval_loader
from kdcache.data.index import index_shard
from kdcache.data.loader import distill_loader
from kdcache.data.recheck import recheck
from kdcache.data.shards import ShardReader
from kdcache.errors import BadImageError, ImageTooLargeError
from kdcache.precompute import PrecomputeReport, precompute
from kdcache.report import CacheReport
from kdcache.store.reader import Cache, open_cache
from kdcache.store.tables import STATUS_OK, STATUS_TOO_LARGE, STATUS_UNDECODABLE
from kdcache.views import decode_for
from tests.support.images import encode, exif_with_orientation, jpeg, picture, pixels, png, webp
from tests.support.precompute_runs import config_for, invoke, words
from tests.support.shards import write_members

POLICY = ViewPolicy.named("rrc", size=24)
WHOLE = jpeg()
PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"

Pixels = NDArray[np.uint8]


def flipped(bit: int) -> bytes:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def bilevel(width: int, height: int) -> bytes:
    """Return a white PNG: its bytes are written in place, as Pillow takes seconds for so many pixels at import."""
    rows = zlib.compress((b"\0" + b"\xff" * (width // 8)) * height, 1)
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def grey16() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64))


def upright(orientation: int) -> Pixels:
    """Return the pixels as Pillow's own function turns them."""
    with Image.open(io.BytesIO(jpeg(exif=exif_with_orientation(orientation)))) as image:
        return np.asarray(ImageOps.exif_transpose(image))


CUT = {f"cut{n:02d}.jpg": WHOLE[: len(WHOLE) * n // 50] for n in range(50)}
FLIPPED = {f"flip{n:03d}.jpg": flipped(n * (8 * len(WHOLE)) // 400 + n % 8) for n in range(400)}
MOVING: dict[str, Any] = {"save_all": True, "append_images": [picture(seed=9)], "duration": 40}

DECODED: dict[str, tuple[bytes, Callable[[], Pixels]]] = {
    "cmyk.jpg": (
        jpeg(mode="CMYK"),
        lambda: np.asarray(Image.open(io.BytesIO(jpeg(mode="CMYK"))).convert("RGB")),
    ),
    "la.png": (png(mode="LA"), lambda: np.asarray(picture(mode="L").convert("RGB"))),
    "p-index.png": (
        encode(picture().quantize(32), "PNG", transparency=3),
        lambda: np.asarray(picture().quantize(32).convert("RGB")),
    ),
    "p-bytes.png": (
        encode(picture().quantize(32), "PNG", transparency=bytes(range(0, 256, 8))),
        lambda: np.asarray(picture().quantize(32).convert("RGB")),
    ),
    "grey16.png": (
        encode(grey16(), "PNG"),
        lambda: (np.asarray(grey16()) >> 8).astype(np.uint8)[:, :, None].repeat(3, axis=2),
    ),
    **{
        f"exif{n}.jpg": (jpeg(exif=exif_with_orientation(n)), lambda n=n: upright(n))  # type: ignore[misc]
        for n in range(1, 9)
    },
    "dot.png": (png(1, 1), lambda: pixels(1, 1)),
    "thin.png": (png(1, 5000), lambda: pixels(1, 5000)),
    "moving-gif.gif": (
        encode(picture().quantize(64), "GIF", **MOVING),
        lambda: np.asarray(picture().quantize(64).convert("RGB")),
    ),
    "moving-webp.webp": (webp(**MOVING), pixels),
}

NOT_DECODED: dict[str, tuple[bytes, type[BadImageError], str]] = {
    "empty.jpg": (b"", BadImageError, "it has no bytes"),
    "page.jpg": (PAGE, BadImageError, "it begins with b'<!DOCTYPE html><'"),
    "bomb.png": (
        bilevel(20_000, 20_000),
        ImageTooLargeError,
        "20000 x 20000 pixels, more than max_pixels = 178956970",
    ),
}

LARGE = {"large.png": bilevel(12_000, 12_000)}

EVERYTHING: dict[str, bytes] = {
    **CUT,
    **FLIPPED,
    **{name: data for name, (data, _) in DECODED.items()},
    **{name: data for name, (data, *_) in NOT_DECODED.items()},
    **LARGE,
}


def outcome(data: bytes) -> Pixels | BadImageError:
    try:
        return np.asarray(decode_for(POLICY, data, where="a.tar: s"))
    except BadImageError as error:
        return error


@pytest.mark.parametrize("name", DECODED)
def test_a_strange_picture_is_decoded_as_documented(name: str) -> None:
    data, expected = DECODED[name]
    found = outcome(data)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected())


@pytest.mark.parametrize("name", NOT_DECODED)
def test_what_is_no_picture_is_refused_with_what_was_found(name: str) -> None:
    data, kind, message = NOT_DECODED[name]
    found = outcome(data)
    assert type(found) is kind
    assert message in str(found)
    assert str(found).startswith("a.tar: s: ")


def test_a_picture_of_144_million_pixels_is_below_the_limit() -> None:
    found = outcome(LARGE["large.png"])
    assert isinstance(found, np.ndarray)
    assert found.shape == (12_000, 12_000, 3)


def test_a_cut_jpeg_is_refused_wherever_it_was_cut() -> None:
    assert [name for name, data in CUT.items() if not isinstance(outcome(data), BadImageError)] == []


def test_a_flipped_bit_gives_a_picture_or_a_bad_image_and_mostly_a_picture() -> None:
    kinds = Counter(type(outcome(data)) for data in FLIPPED.values())
    assert set(kinds) <= {np.ndarray, BadImageError, ImageTooLargeError}
    assert kinds[np.ndarray] > 300


@dataclass(frozen=True, slots=True)
class Cached:
    """What stage one made of all of them."""

    shard: str
    path: Path
    report: PrecomputeReport
    cache: Cache

    @property
    def status(self) -> dict[str, int]:
        table = self.cache.samples(0)
        return dict(zip(table.keys, table.status.tolist(), strict=True))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, home: None) -> Cached:
    folder = tmp_path_factory.mktemp("bad")
    members = [
        member
        for n, (name, data) in enumerate(EVERYTHING.items())
        for member in ((name, data), (f"{name.partition('.')[0]}.cls", str(n % 10).encode()))
    ]
    shard = str(write_members(folder / "bad.tar", members))
    settings = {"views": 2, "seeds_per_group": 2, "rows_per_block": 512, "max_bad": 1.0}
    report = precompute(config_for(folder / "c.zarr", [shard], policy=POLICY, **settings), quiet=True)
    return Cached(shard, folder / "c.zarr", report, open_cache(folder / "c.zarr"))


def expected_status(data: bytes) -> int:
    found = outcome(data)
    if isinstance(found, ImageTooLargeError):
        return STATUS_TOO_LARGE
    return STATUS_UNDECODABLE if isinstance(found, BadImageError) else STATUS_OK


def good_keys(cached: Cached) -> list[str]:
    return [key for key, status in cached.status.items() if status == STATUS_OK]


def test_stage_one_counts_and_lists_every_bad_sample(everything: Cached) -> None:
    expected = {name.partition(".")[0]: expected_status(data) for name, data in EVERYTHING.items()}
    assert everything.status == expected
    counts = {
        "undecodable": sum(status == STATUS_UNDECODABLE for status in expected.values()),
        "too large": sum(status == STATUS_TOO_LARGE for status in expected.values()),
    }
    assert counts["undecodable"] > 52
    assert everything.report.bad_samples == counts
    assert CacheReport.of(everything.cache).bad_samples == counts


def test_the_listing_names_each_bad_sample_and_why(everything: Cached) -> None:
    lines = invoke(["info", str(everything.path), "--bad-samples"]).stdout.splitlines()
    assert len(lines) == sum(everything.report.bad_samples.values())
    assert lines[0] == "bad.tar\t'cut00'\tundecodable"
    assert "bad.tar\t'bomb'\ttoo large" in lines
    listed = json.loads(invoke(["info", str(everything.path), "--bad-samples", "--json"]).stdout)
    assert {entry["key"] for entry in listed} == set(everything.status) - set(good_keys(everything))


def test_training_skips_the_same_rows(everything: Cached) -> None:
    loader = distill_loader(everything.shard, cache=everything.cache, batch_size=1, check_views=1)
    batches = list(loader.epoch(0))
    assert sorted(key for batch in batches for key in batch.keys) == sorted(good_keys(everything))
    assert sum(batch.num_checked for batch in batches) == len(batches)


def test_evaluation_without_a_cache_skips_the_same_rows(everything: Cached) -> None:
    batches = list(eval_loader(everything.shard, policy=POLICY, batch_size=64))
    assert [key for batch in batches for key in batch.keys] == good_keys(everything)


def test_rendering_again_compares_good_views_and_the_bytes_of_bad_samples(everything: Cached) -> None:
    report = recheck(everything.shard, everything.cache, fraction=None, quiet=True)
    assert report.views == 2 * len(good_keys(everything))
    assert report.samples == len(EVERYTHING)


def test_a_strict_run_stops_at_the_first_of_them_and_names_it(everything: Cached, tmp_path: Path) -> None:
    result = invoke(words(tmp_path / "c.zarr", [everything.shard], "--on-bad-sample", "fail"))
    assert result.exit_code == 3
    assert f"{everything.shard}: sample 'cut00': not a JPEG" in result.stderr
    assert "--on-bad-sample skip" in result.stderr


def test_the_shard_holds_all_of_them(everything: Cached) -> None:
    reader = ShardReader(index_shard(everything.shard))
    assert len(reader.index) == len(EVERYTHING) == 50 + 400 + len(DECODED) + len(NOT_DECODED) + 1
    assert reader.read(len(EVERYTHING) - 1).encoded == LARGE["large.png"]
