import random
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kdcache.config.views import PRESETS, ViewPolicy
from kdcache.keys import ViewKey, view_rng
from kdcache.views.draw import draw
from kdcache.views.ops import Op, OpCall
from kdcache.views.params import ViewParams
from kdcache.views.render import render, render_views
from tests.support.images import picture

WHOLE = ViewParams((0, 0, 64, 48), (64, 48), (0, 0, 64, 48))
PLAIN = ViewPolicy(size=(48, 64))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_view_has_the_policys_size_and_lies_in_one_piece(preset: str) -> None:
    policy = ViewPolicy.named(preset, size=(40, 56))
    views_V3HW = render_views("sample", picture(), range(6), policy)
    assert views_V3HW.shape == (6, 3, 40, 56)
    assert views_V3HW.dtype == np.uint8
    assert views_V3HW.flags.c_contiguous
    params = draw(policy, view_rng(ViewKey("sample", 5)), (64, 48))
    alone_3HW = render(picture(), params, policy)
    assert alone_3HW.flags.c_contiguous
    assert alone_3HW.flags.writeable
    assert np.array_equal(alone_3HW, views_V3HW[5])


def test_views_may_be_written_into_their_places_in_a_batch() -> None:
    batch_B3HW = np.zeros((4, 3, 48, 64), np.uint8)
    written = render_views("sample", picture(), [5, 6], PLAIN, out=batch_B3HW[1:3])
    assert np.shares_memory(written, batch_B3HW)
    assert np.array_equal(batch_B3HW[1:3], render_views("sample", picture(), [5, 6], PLAIN))
    assert not batch_B3HW[[0, 3]].any()


@settings(max_examples=25, deadline=None)
@given(
    preset=st.sampled_from(list(PRESETS)),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=6),
    key=st.text(max_size=12),
)
def test_a_view_does_not_depend_on_its_company(preset: str, seeds: list[int], key: str) -> None:
    policy = ViewPolicy.named(preset, size=32)
    together = render_views(key, picture(), seeds, policy)
    for view_3HW, seed in zip(together, seeds, strict=True):
        assert np.array_equal(view_3HW, render_views(key, picture(), [seed], policy)[0])


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    preset=st.sampled_from(list(PRESETS)),
    seed=st.integers(0, 2**40),
    interpolation=st.sampled_from(["bilinear", "bicubic", "lanczos"]),
)
def test_images_of_any_size_can_be_rendered(
    width: int, height: int, preset: str, seed: int, interpolation: str
) -> None:
    policy = ViewPolicy.named(preset, size=24, interpolation=interpolation)
    assert render_views("sample", picture(width, height), [seed], policy).shape == (1, 3, 24, 24)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
@pytest.mark.parametrize("preset", PRESETS)
def test_thin_images_can_be_rendered(preset: str, size: tuple[int, int]) -> None:
    assert render_views("sample", picture(*size), [0, 1], ViewPolicy.named(preset)).shape == (2, 3, 224, 224)


def test_flip_swaps_left_and_right_before_the_ops() -> None:
    flipped = ViewParams(*_geometry(), flip=True, ops=(OpCall(Op.TRANSLATE_X, 5),))
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    expected = render(mirrored, ViewParams(*_geometry(), ops=(OpCall(Op.TRANSLATE_X, 5),)), PLAIN)
    assert np.array_equal(render(picture(), flipped, PLAIN), expected)


def _geometry() -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int, int, int]]:
    return WHOLE.source, WHOLE.resized, WHOLE.window


def test_ops_are_applied_in_order() -> None:
    one = ViewParams(*_geometry(), ops=(OpCall(Op.SOLARISE, 100), OpCall(Op.POSTERISE, 2)))
    other = ViewParams(*_geometry(), ops=(OpCall(Op.POSTERISE, 2), OpCall(Op.SOLARISE, 100)))
    assert not np.array_equal(render(picture(), one, PLAIN), render(picture(), other, PLAIN))


def test_channels_come_first_in_rgb_order() -> None:
    assert np.array_equal(render(picture(), WHOLE, PLAIN), np.asarray(picture()).transpose(2, 0, 1))


def test_geometry_ops_fill_with_the_policys_colour() -> None:
    policy = ViewPolicy(size=(48, 64), rand_augment={"fill": (7, 8, 9)})
    params = ViewParams(*_geometry(), ops=(OpCall(Op.TRANSLATE_X, 64),))
    assert [set(np.unique(plane)) for plane in render(picture(), params, policy)] == [{7}, {8}, {9}]


def test_rendering_leaves_the_image_alone() -> None:
    image = picture()
    before = image.tobytes()
    render_views("sample", image, range(8), ViewPolicy.named("deit", size=32))
    assert image.tobytes() == before


def global_states() -> tuple[str, str, str]:
    legacy = np.random.get_state()  # noqa: NPY002 - the point is that nobody touches it
    return str(random.getstate()), str(legacy), str(torch.get_rng_state().tolist())


def test_no_global_generator_is_read_or_seeded() -> None:
    states = global_states()
    views = render_views("sample", picture(), range(8), ViewPolicy.named("deit", size=32))
    assert global_states() == states
    random.seed(2)
    again = render_views("sample", picture(), range(8), ViewPolicy.named("deit", size=32))
    assert np.array_equal(views, again)


def test_threads_render_the_same_views() -> None:
    policy = ViewPolicy.named("deit", size=48)
    alone = [render_views(str(n), picture(), range(8), policy) for n in range(4)]
    results: dict[int, np.ndarray] = {}

    def work(n: int) -> None:
        for _ in range(3):
            results[n] = render_views(str(n), picture(), range(8), policy)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[n], alone[n]) for n in range(4))
