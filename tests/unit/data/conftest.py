"""Indexes of these tests' shards are kept in a folder of their own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def index_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("kdcache-home")))
        yield
