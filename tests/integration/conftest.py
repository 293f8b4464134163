"""What several of these tests need."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing import forkserver

import pytest


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have processes started in the way that is asked for, from this test's environment."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # it has the environment of its first use
    yield request.param
    multiprocessing.set_start_method(before, force=True)
