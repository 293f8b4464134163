"""Sixty-four writers race over two hundred units: each is committed exactly once, on a disk and on S3."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdcache.store import open_cache
from kdcache.store.layout import Unit, record_path
from kdcache.store.objects import LocalObjects, open_objects
from kdcache.store.remote import RemoteObjects
from kdcache.store.verify import verify
from kdcache.store.writer import CacheWriter
from tests.support.s3 import seaweed_server
from tests.support.stores import make_manifest, make_teacher, table_of, view_digests_of, write_targets_of

NUM_WRITERS = 64
NUM_BLOCKS = 10
TEACHERS = [f"cnn-{number}" for number in range(20)]
NUM_UNITS = NUM_BLOCKS * len(TEACHERS)
ALL_UNITS = NUM_BLOCKS * (2 + len(TEACHERS))


@pytest.fixture(params=["disk", "seaweedfs"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        if request.param == "disk":
            yield str(tmp_path / "c.zarr")
            return
        monkeypatch.setenv("GOMAXPROCS", "2")  # requests that the server, too, takes at once
        server = stack.enter_context(seaweed_server(tmp_path))
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield "s3://caches/c.zarr"


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the puts that made a new object."""
    counts: Counter[str] = Counter()
    for owner in (LocalObjects, RemoteObjects):
        put_new: Any = owner.put_new

        def counted(self: Any, path: str, data: bytes, put_new: Any = put_new) -> bool:
            is_new: bool = put_new(self, path, data)
            counts[path] += is_new
            return is_new

        monkeypatch.setattr(owner, "put_new", counted)
    return counts


def _begun(url: str) -> CacheWriter:
    # Small blocks of one view; samples and views are there, the targets are raced for.
    teachers = {name: make_teacher() for name in TEACHERS}
    manifest = make_manifest(
        num_samples=[4] * NUM_BLOCKS, num_aug_seeds=1, seeds_per_group=1, teachers=teachers
    )
    first = CacheWriter.create_or_resume(url, manifest)
    for block in first.layout.blocks:
        first.write_samples(block.index, table_of(block), seconds=0.0)
        digests_GR = view_digests_of(first, block, 0)
        first.write_views(block.index, 0, digests_GR, np.zeros((1, 8, 8, 8, 3), dtype=np.uint8), seconds=0.0)
    return first


@pytest.mark.slow
def test_of_racing_writers_exactly_one_commits_each_unit(url: str, commits: Counter[str]) -> None:
    first = _begun(url)
    writers = [CacheWriter(open_objects(url), first.manifest) for _ in range(NUM_WRITERS)]
    start, tries, errors = threading.Barrier(NUM_WRITERS), Counter[str](), []

    def race(number: int, writer: CacheWriter) -> None:
        # Eight writers at a time come the same way, so that they meet at every unit.
        units = [(block, teacher) for block in writer.layout.blocks for teacher in TEACHERS]
        random.Random(number // 8).shuffle(units)
        start.wait()
        try:
            for block, teacher in units:
                if not writer.is_committed(Unit(teacher, block.index, 0).name):
                    tries[f"{teacher}-{block.index}"] += 1
                    write_targets_of(writer, teacher, block, 0)
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=race, args=pair) for pair in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    records = [record_path(unit.name) for unit in first.layout.units() if unit.kind in TEACHERS]
    assert len(records) == NUM_UNITS
    assert [commits[path] for path in records] == [1] * NUM_UNITS
    assert sum(tries.values()) > NUM_UNITS * 1.5, "they hardly met"
    first.finish()
    assert verify(url).units == ALL_UNITS
    assert len(list(open_cache(url).records())) == ALL_UNITS
