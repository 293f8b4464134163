"""Nothing is copied before it was found right."""

from pathlib import Path

import pytest

from kdcache.errors import CorruptChunkError
from kdcache.share.content import content_of
from kdcache.share.plan import CopyPlan, plan_copy
from kdcache.share.source import Source, read_source
from kdcache.store.objects import open_objects
from kdcache.store.root import expected_root
from tests.support.stores import make_store


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(open_objects(make_store(tmp_path / "c.zarr")), jobs=1)


@pytest.fixture
def plan(source: Source) -> CopyPlan:
    return plan_copy(source.manifest, expected_root(source.objects, source.layout), source.records.values())


def test_objects_and_texts_are_given_as_planned(source: Source, plan: CopyPlan, tmp_path: Path) -> None:
    assert content_of(source, plan.data[0]) == (tmp_path / "c.zarr" / plan.data[0].path).read_bytes()
    assert content_of(source, plan.root) == plan.root.content


def test_a_damaged_or_missing_object_is_named(source: Source, plan: CopyPlan, tmp_path: Path) -> None:
    file = tmp_path / "c.zarr" / plan.data[0].path
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(CorruptChunkError, match=f"{plan.data[0].path}.*its sha256 is not the one"):
        content_of(source, plan.data[0])
    file.unlink()
    with pytest.raises(CorruptChunkError, match=f"{plan.data[0].path}.*committed, but missing"):
        content_of(source, plan.data[0])
