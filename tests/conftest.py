"""What holds for all tests."""

import gc
import os
from collections import Counter

import pytest
from hypothesis import settings

# Tests run side by side; threads of several would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMAXPROCS", "1")  # of SeaweedFS

# How long an example takes is no property of the code on a machine that others use, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

gc.disable()  # there is no garbage in what is imported and collected, and a second is spent looking for it


def pytest_configure(config: pytest.Config) -> None:
    """Start what all processes of a parallel run share, before they start."""
    if config.getoption("numprocesses", None):
        from tests.support.processes import start_server

        os.environ["KDCACHE_TEST_PROCESSES"] = start_server()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is left alone at the end of a parallel run."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], item.path.parent.name != "integration"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave all that is imported and collected out of every later garbage collection, here and in forks."""
    gc.collect()
    gc.freeze()
    gc.enable()
