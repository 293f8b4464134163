"""What holds for all tests."""

import gc
import os

import pytest
from hypothesis import settings

# Tests run side by side; threads of several would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes is no property of the code on a machine that others use, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave all that is imported and collected out of every later garbage collection, here and in forks."""
    gc.collect()
    gc.freeze()
