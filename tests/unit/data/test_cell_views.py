"""A sample on its own, or a pair mixed with each other."""

import numpy as np
from PIL import Image

from kdcache.config.views import ViewPolicy
from kdcache.data.cell_views import render_cell
from kdcache.views import render_views
from kdcache.views.mix import mix_params, mix_views
from tests.support.images import picture

POLICY = ViewPolicy.named("rrc", size=16, mixing={"cutmix_alpha": 0.0})
PAIR: tuple[Image.Image, Image.Image] = (picture(seed=1), picture(seed=2))


def test_a_single_is_rendered_and_not_mixed() -> None:
    cell = render_cell(["a"], PAIR[:1], [3, 4], POLICY)
    assert np.array_equal(cell.views_NS3HW[0], render_views("a", PAIR[0], [3, 4], POLICY))
    assert [params.lam for params in cell.mixes] == [1.0, 1.0]


def test_a_pair_is_mixed_both_ways_from_the_unmixed_views() -> None:
    cell = render_cell(["a", "b"], PAIR, [5], POLICY)
    one, other = (render_views(key, image, [5], POLICY)[0] for key, image in zip("ab", PAIR, strict=True))
    params = mix_params("a", 5, POLICY)
    assert cell.mixes == (params,)
    assert np.array_equal(cell.views_NS3HW[0, 0], mix_views(one, other, params))
    assert np.array_equal(cell.views_NS3HW[1, 0], mix_views(other, one, params))
