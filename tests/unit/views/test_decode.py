import io
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from kdcache.config.views import ViewPolicy
from kdcache.errors import BadImageError, ConfigError, ImageTooLargeError
from kdcache.views.decode import decode_for, decode_image
from tests.support.images import (
    MODE_MAKERS,
    encode,
    exif_with_orientation,
    jpeg,
    picture,
    png,
    truncated,
    webp,
)

LIMIT = 178_956_970
WHERE = "shard-000000.tar: sample 000017"


def decode(encoded: bytes, *, max_pixels: int = LIMIT) -> Image.Image:
    return decode_image(encoded, max_pixels=max_pixels, where=WHERE)


def pillow_rgb(encoded: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
        return upright.convert("RGB")


@pytest.mark.parametrize("name", [name for name in MODE_MAKERS if "16" not in name and "int32" not in name])
def test_every_mode_decodes_as_pillow_converts_it(name: str) -> None:
    encoded = MODE_MAKERS[name]()
    image = decode(encoded)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(pillow_rgb(encoded)))


@pytest.mark.parametrize("name", ["png-grey16", "tiff-grey16", "tiff-int32"])
def test_sixteen_bits_keep_their_high_byte(name: str) -> None:
    image = np.asarray(decode(MODE_MAKERS[name]()))
    levels = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64) >> 8
    assert np.array_equal(image, np.repeat(levels[:, :, None], 3, axis=2))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, order: str) -> None:
    encoded = jpeg(exif=exif_with_orientation(orientation, order=order))
    assert np.array_equal(np.asarray(decode(encoded)), np.asarray(pillow_rgb(encoded)))
    assert decode(encoded).size == ((64, 48) if orientation < 5 else (48, 64))


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_is_undone_in_other_formats(image_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    encoded = encode(picture(), image_format, exif=exif, **options)
    assert np.array_equal(np.asarray(decode(encoded)), np.asarray(pillow_rgb(encoded)))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
        exif_with_orientation(0),
        exif_with_orientation(9),
        exif_with_orientation(6)[:-12],
    ],
)
def test_a_broken_exif_block_leaves_the_image_as_it_lies(exif: bytes) -> None:
    encoded = jpeg(exif=exif)
    assert np.array_equal(np.asarray(decode(encoded)), np.asarray(decode(jpeg())))


@pytest.mark.parametrize("step", range(50))
def test_a_cut_image_is_refused_or_whole(step: int) -> None:
    """A format may end in bytes that hold no pixels; what decodes all the same is the whole image."""
    for maker in (jpeg, png, webp):
        whole = maker()
        cut = truncated(whole, step / 50)
        outcome = _outcome(cut)
        assert outcome.startswith(WHERE) or outcome == _outcome(whole)


@settings(max_examples=400, deadline=None)
@given(position=st.integers(0, 2**30), bit=st.integers(0, 7), maker=st.sampled_from([jpeg, png, webp]))
def test_a_flipped_bit_is_an_image_or_a_bad_image(
    position: int, bit: int, maker: Callable[..., bytes]
) -> None:
    encoded = bytearray(maker())
    encoded[position % len(encoded)] ^= 1 << bit
    assert _outcome(bytes(encoded), max_pixels=10**6).startswith((WHERE, "image RGB"))


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), head=st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\0"]))
def test_noise_is_a_bad_image(noise: bytes, head: bytes) -> None:
    with pytest.raises(BadImageError, match="shard-000000"):
        decode(head + noise)


def test_the_error_for_html_names_the_sample_what_was_found_and_the_way_out() -> None:
    with pytest.raises(BadImageError) as error:
        decode(b"<!DOCTYPE html><html>404</html>")
    assert str(error.value) == (
        "shard-000000.tar: sample 000017: not a JPEG, PNG, WebP, BMP, GIF or TIFF image: "
        "it begins with b'<!DOCTYPE html><'; replace the file, "
        "or let the run skip it with --on-bad-sample skip"
    )


def test_the_error_for_zero_bytes_says_so() -> None:
    with pytest.raises(BadImageError, match="it has no bytes"):
        decode(b"")


def test_the_error_for_a_cut_jpeg_says_so() -> None:
    with pytest.raises(BadImageError, match="sample 000017: cannot be decoded: image file is truncated"):
        decode(truncated(jpeg(), 0.5))


@pytest.mark.parametrize("maker", [jpeg, png, webp])
def test_more_pixels_than_the_limit_are_refused(maker: Callable[..., bytes]) -> None:
    encoded: bytes = maker(64, 48)
    assert decode(encoded, max_pixels=64 * 48).size == (64, 48)
    with pytest.raises(
        ImageTooLargeError, match=r"sample 000017: 64 x 48 pixels, more than max_pixels = 3071"
    ):
        decode(encoded, max_pixels=64 * 48 - 1)


def bomb(width: int, height: int) -> bytes:
    return encode(Image.new("1", (width, height)), "PNG")


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageTooLargeError, match="20000 x 20000"):
        decode(bomb(20_000, 20_000))


def test_an_image_above_pillows_own_limit_decodes() -> None:
    """Pillow would warn from 89 million pixels on, and warnings are errors here."""
    assert decode(bomb(10_000, 9_000)).size == (10_000, 9_000)


@pytest.mark.parametrize("limit", [1, 1000, None])
def test_pillows_global_limit_plays_no_part(limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for maker in (jpeg, png):
        assert decode(maker()).size == (64, 48)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_lenient_pillow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES is True"):
        decode(jpeg())


def test_filters_of_warnings_do_not_change_the_outcome() -> None:
    """A cut TIFF directory makes Pillow warn; whether that is an error is the program's own business."""
    encoded = bytearray(encode(picture(), "TIFF"))
    outcomes = []
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            outcomes.append(_outcome(bytes(encoded[:-20])))
    assert outcomes[0] == outcomes[1]


def _outcome(encoded: bytes, *, max_pixels: int = LIMIT) -> str:
    try:
        image = decode(encoded, max_pixels=max_pixels)
        return f"image {image.mode} {image.tobytes()!r}"
    except BadImageError as error:
        return str(error)


def test_threads_decode_side_by_side_and_leave_no_trace() -> None:
    filters = list(warnings.filters)
    encoded = [maker() for maker in MODE_MAKERS.values()] * 4
    alone = [decode(data).tobytes() for data in encoded]
    barrier = threading.Barrier(8)

    def one(data: bytes) -> bytes:
        return decode(data).tobytes()

    with ThreadPoolExecutor(8, initializer=barrier.wait) as pool:
        assert list(pool.map(one, encoded)) == alone
    assert list(warnings.filters) == filters


def test_draft_decodes_a_large_jpeg_smaller_but_not_below_the_view() -> None:
    encoded = jpeg(1600, 1200)
    draft = ViewPolicy.named("rrc", size=96, draft=True)
    assert decode_for(ViewPolicy.named("rrc", size=96), encoded, where=WHERE).size == (1600, 1200)
    assert decode_for(draft, encoded, where=WHERE).size == (400, 300)


@pytest.mark.parametrize(
    ("policy", "size"),
    [
        (ViewPolicy.named("center", size=210, crop_pct=0.875, draft=True), (400, 300)),
        (ViewPolicy.named("light", size=210, draft=True), (400, 300)),
        (ViewPolicy.named("light", size=301, draft=True), (800, 600)),
        (ViewPolicy.named("rrc", size=800, draft=True), (1600, 1200)),
    ],
)
def test_draft_follows_the_crop_of_the_policy(policy: ViewPolicy, size: tuple[int, int]) -> None:
    assert decode_for(policy, jpeg(1600, 1200), where=WHERE).size == size


def test_draft_leaves_other_formats_alone() -> None:
    policy = ViewPolicy.named("center", size=8, draft=True)
    assert decode_for(policy, png(), where=WHERE).size == (64, 48)


def test_decode_for_takes_the_policys_limit() -> None:
    with pytest.raises(ImageTooLargeError):
        decode_for(ViewPolicy.named("center", max_pixels=100), png(), where=WHERE)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_images_decode(size: tuple[int, int]) -> None:
    assert decode(png(*size)).size == size
