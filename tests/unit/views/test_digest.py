import io

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.views.digest import thumbnail, thumbnails_agree, view_digest
from kdcache.views.render import render_views
from tests.support.images import encode, jpeg, picture


def view_of(image: Image.Image, aug_seed: int = 0) -> NDArray[np.uint8]:
    view_3HW: NDArray[np.uint8] = render_views("sample", image, [aug_seed], ViewPolicy.named("rrc", size=64))[
        0
    ]
    return view_3HW


@given(st.binary(min_size=12, max_size=12))
def test_the_digest_is_24_bits_of_xxh3(pixels: bytes) -> None:
    view_3HW = np.frombuffer(pixels, np.uint8).reshape(3, 2, 2)
    assert view_digest(view_3HW) == xxhash.xxh3_64_intdigest(pixels, seed=0) % 2**24


def test_zero_is_stored_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xxhash, "xxh3_64_intdigest", lambda _: 7 << 24)
    assert view_digest(np.zeros((3, 2, 2), np.uint8)) == 1


def test_one_changed_value_changes_the_digest() -> None:
    view_3HW = view_of(picture())
    changed = view_3HW.copy()
    changed[2, 63, 63] ^= 1
    assert view_digest(changed) != view_digest(view_3HW)


def test_the_thumbnail_is_pillows_box_filter_over_the_rgb_image() -> None:
    view_3HW = view_of(picture())
    expected = Image.fromarray(view_3HW.transpose(1, 2, 0).copy()).resize((8, 8), Image.Resampling.BOX)
    small_883 = thumbnail(view_3HW)
    assert small_883.shape == (8, 8, 3)
    assert np.array_equal(small_883, np.asarray(expected))


def test_thumbnails_of_one_view_under_two_decoders_agree() -> None:
    exact = Image.open(io.BytesIO(jpeg(200, 150))).convert("RGB")
    levels = np.asarray(exact).astype(int)
    rounded = np.clip(levels + np.where(np.indices(levels.shape).sum(axis=0) % 3, 1, -1), 0, 255)
    other = Image.fromarray(rounded.astype(np.uint8))
    assert view_digest(view_of(exact)) != view_digest(view_of(other))
    assert thumbnails_agree(thumbnail(view_of(exact)), thumbnail(view_of(other)))


def test_thumbnails_of_other_views_do_not_agree() -> None:
    image = Image.open(io.BytesIO(encode(picture(200, 150), "JPEG")))
    assert not thumbnails_agree(thumbnail(view_of(image, 0)), thumbnail(view_of(image, 1)))
    assert not thumbnails_agree(np.full((8, 8, 3), 250, np.uint8), np.full((8, 8, 3), 1, np.uint8))
