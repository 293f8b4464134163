"""Shards are read from other places than S3, too: Azure's blob storage and a plain web server, both real."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdcache.data.index import index_shards
from kdcache.data.shards import ShardReader
from kdcache.errors import ShardError
from kdcache.store.objects import open_objects
from tests.support.azurite import CONTAINER, azurite
from tests.support.nginx import nginx
from tests.support.shards import write_members

MEMBERS = [
    (f"{number:04d}.{ext}", b"%d" % number * times)
    for number in range(40)
    for ext, times in (("jpg", 999), ("cls", 1))
]

Put = Callable[[Path], object]


@pytest.fixture(scope="module", params=["az", "http"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Put]]:
    """Return (URL of a folder, what puts a file there)."""
    folder, served = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCACHE_HOME", str(tmp_path_factory.mktemp("home")))
        if request.param == "http":
            with nginx(served, folder) as address:
                yield address, lambda file: (served / file.name).write_bytes(file.read_bytes())
            return
        with azurite(folder) as server:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            url = f"az://{CONTAINER}/data"
            yield url, lambda file: open_objects(url).replace(file.name, file.read_bytes())


def test_samples_are_those_of_the_file(place: tuple[str, Put], tmp_path: Path) -> None:
    url, put = place
    shard = write_members(tmp_path / "train-000.tar", MEMBERS)
    put(shard)
    (here,), (there,) = index_shards([str(shard)]), index_shards([f"{url}/train-000.tar"])
    near, far = ShardReader(here), ShardReader(there)
    assert [far.read(row) for row in range(40)] == [near.read(row) for row in range(40)]
    with pytest.raises(ShardError, match=rf"{url}/train-001\.tar: there is none"):
        index_shards([f"{url}/train-001.tar"])


def test_another_version_is_refused(place: tuple[str, Put], tmp_path: Path) -> None:
    url, put = place
    put(write_members(tmp_path / "changed.tar", MEMBERS))
    (indexed,) = index_shards([f"{url}/changed.tar"])
    time.sleep(1.1)  # a web server tells versions by the second
    put(write_members(tmp_path / "changed.tar", MEMBERS[::-1]))
    with pytest.raises(ShardError, match="was changed while it was in use"):
        ShardReader(indexed).read(0)
