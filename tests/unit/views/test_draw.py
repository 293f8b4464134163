import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdcache.config.views import PRESETS, ViewPolicy
from kdcache.keys import ViewKey, view_rng
from kdcache.views.draw import draw
from kdcache.views.params import ViewParams
from tests.support.images import picture

POLICIES = st.sampled_from([ViewPolicy.named(preset) for preset in PRESETS])
KEYS = st.builds(ViewKey, st.text(max_size=20), st.integers(0, 2**63))


def params_of(policy: ViewPolicy, n: int, size: tuple[int, int] = (300, 200)) -> ViewParams:
    return draw(policy, view_rng(ViewKey("sample", n)), size)


@given(policy=POLICIES, key=KEYS)
def test_a_draw_repeats_for_equal_arguments(policy: ViewPolicy, key: ViewKey) -> None:
    assert draw(policy, view_rng(key), (300, 200)) == draw(policy, view_rng(key), (300, 200))


@given(policy=POLICIES, key=KEYS, width=st.integers(1, 3000), height=st.integers(1, 3000))
def test_parameters_are_integers_all_the_way_down(
    policy: ViewPolicy, key: ViewKey, width: int, height: int
) -> None:
    def leaves(value: object) -> list[object]:
        if isinstance(value, (tuple, list)):
            return [leaf for part in value for leaf in leaves(part)]
        return [value]

    values = leaves(dataclasses.astuple(draw(policy, view_rng(key), (width, height))))
    assert all(isinstance(value, (int, str)) for value in values)


@given(key=KEYS)
def test_switching_one_op_off_moves_no_other(key: ViewKey) -> None:
    full = ViewPolicy.named("deit", colour_jitter={}, three_augment={})
    whole = draw(full, view_rng(key), (300, 200))
    for section in ("rand_augment", "three_augment", "colour_jitter", "erasing"):
        less = draw(ViewPolicy.named("deit", **{**_sections(), section: None}), view_rng(key), (300, 200))
        assert (less.source, less.flip) == (whole.source, whole.flip)
        assert set(less.ops) <= set(whole.ops)
        if section != "erasing":
            assert less.erase == whole.erase


def _sections() -> dict[str, object]:
    return {"rand_augment": {}, "three_augment": {}, "colour_jitter": {}, "erasing": {}}


def test_half_of_the_views_are_flipped() -> None:
    flips = sum(params_of(ViewPolicy.named("rrc"), n).flip for n in range(4000))
    assert flips == pytest.approx(2000, rel=0.06)


@pytest.mark.parametrize(("flip", "expected"), [(0.0, {False}), (1.0, {True})])
def test_a_flip_can_be_switched(flip: float, expected: set[bool]) -> None:
    assert {params_of(ViewPolicy.named("rrc", flip=flip), n).flip for n in range(200)} == expected


def test_center_has_one_view() -> None:
    assert len({params_of(ViewPolicy.named("center"), n) for n in range(20)}) == 1


def test_ops_come_in_the_stated_order() -> None:
    policy = ViewPolicy.named(
        "deit",
        rand_augment={"op_prob": 1.0, "num_ops": 2},
        three_augment={},
        colour_jitter={"contrast": 0.0, "saturation": 0.0},
    )
    names = ("rand_augment", "three_augment", "colour_jitter")
    alone = [ViewPolicy.named("rrc", **{name: getattr(policy, name)}) for name in names]
    for n in range(20):
        assert params_of(policy, n).ops == sum((params_of(one, n).ops for one in alone), ())


def test_a_draw_needs_no_pixels() -> None:
    image = picture(300, 200)
    policy = ViewPolicy.named("deit")
    assert draw(policy, view_rng(ViewKey("sample", 4)), image.size) == params_of(policy, 4)
