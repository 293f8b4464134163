"""Good samples without values are found, and the object that lacks them is named."""

import numpy as np
import pytest

from kdcache.data.damage import damaged_unit, demand_values
from kdcache.errors import CorruptChunkError
from kdcache.store import Cache, open_cache
from kdcache.store.layout import Unit
from tests.support.stores import make_store


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return open_cache(make_store(tmp_path_factory.mktemp("store") / "c"))


def test_the_first_object_of_a_unit_is_named(cache: Cache) -> None:
    assert str(damaged_unit(cache, Unit.samples(1), "it is odd")).startswith(
        f"samples/key/c/1 in {cache.url} is damaged: it is odd"
    )


def test_views_that_all_have_values_are_fine(cache: Cache) -> None:
    demand_values(cache, "cnn", np.array([True, True]), [(0, 1, 2), (0, 2, 2)])


def test_the_first_view_without_values_is_named(cache: Cache) -> None:
    with pytest.raises(CorruptChunkError, match=r"cnn/targets/c/1/0/2 .*aug_seed 3 has nothing in row 5"):
        demand_values(cache, "cnn", np.array([True, False]), [(0, 1, 2), (2, 5, 3)])
